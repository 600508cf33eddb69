"""The chapter of the tour about accounts: two factors, devices, and signing in with a provider."""

import asyncio
import contextlib
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pyotp
from grpc import aio

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2 as auth
from greenroom.auth.v1 import identity_service_pb2 as identities
from greenroom.auth.v1 import mfa_service_pb2 as mfa
from greenroom.auth.v1 import oauth_service_pb2 as oauth
from greenroom.auth.v1 import session_service_pb2 as sessions

Expect = Callable[[bool, str], None]
Done = Callable[[str], None]
Patiently = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def two_factors(
    address: str,
    owner: greenroom_client.Client,
    log_in: dict[str, str],
    patiently: Patiently,
    expect: Expect,
    done: Done,
) -> greenroom_client.Client:
    """Turns a second factor on and signs in on another device with a backup code. Returns that
    device's client, which is open."""
    begun = await owner.mfa.CreateMfaFactor(mfa.CreateMfaFactorRequest(label="Ben's phone"))
    code = pyotp.TOTP(begun.secret).now()
    active = await owner.mfa.ActivateMfaFactor(
        mfa.ActivateMfaFactorRequest(factor_id=begun.factor.id, totp_code=code)
    )
    expect(len(active.backup_codes) == 10, "ten backup codes are shown")
    done("Ben turned on a second factor: an authenticator app, and ten backup codes")

    device = greenroom_client.connect(address)
    try:
        try:
            await patiently(lambda: device.log_in(device_name="A borrowed laptop", **log_in))
        except greenroom_client.SecondFactorNeeded as needed:
            challenge = needed.challenge
        else:
            expect(False, "the password alone must not open a session")
        for used, wanted in ((code, "an authenticator's code works once"), ("000000", "a guess")):
            try:
                await device.complete_mfa(challenge, totp=used)
            except aio.AioRpcError:
                continue
            expect(False, wanted)
        done("his password alone opened nothing, nor did the code he had used, nor a guess")

        backup = active.backup_codes[0]
        opened = await patiently(lambda: device.complete_mfa(challenge, backup_code=backup))
        expect(opened.session.device_name == "A borrowed laptop", "the session is the laptop's")
        left = await device.mfa.ListMfaFactors(mfa.ListMfaFactorsRequest())
        expect(left.backup_codes_left == 9, "one backup code is spent")
        done("a backup code let him in from a borrowed laptop; nine are left")
    except BaseException:
        await device.close()
        raise
    return device


async def remote_sign_out(
    owner: greenroom_client.Client, device: greenroom_client.Client, expect: Expect, done: Done
) -> None:
    """Ends the other device's session from the device list."""
    listed = (await owner.sessions.ListSessions(sessions.ListSessionsRequest())).sessions
    others = [session for session in listed if not session.current]
    expect({session.device_name for session in others} == {"A borrowed laptop"}, "the device list")
    await owner.sessions.RevokeSession(sessions.RevokeSessionRequest(session_id=others[0].id))
    try:
        await device.auth.GetMe(auth.GetMeRequest())
    except greenroom_client.SignedOut:
        done(f"his device list showed {len(listed)} devices; he signed the laptop out from afar")
    else:
        expect(False, "the laptop must be signed out")


@contextlib.asynccontextmanager
async def local_provider(port: int, person: dict[str, Any]) -> AsyncIterator[str]:
    """An OpenID provider on this machine that knows one person; its issuer."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-m", "oidc_provider_mock"),
        *("--port", str(port), "--require-nonce", "true", "--user-claims", json.dumps(person)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    issuer = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                await asyncio.to_thread(_get, f"{issuer}/.well-known/openid-configuration")
                break
            await asyncio.sleep(0.1)
        yield issuer
    finally:
        process.terminate()
        await process.wait()


async def google(address: str, port: int, run: str, expect: Expect, done: Done) -> None:
    """Signs somebody up and in again with the provider that plays Google's part."""
    person: dict[str, Any] = {
        "sub": f"google-{run}",
        "email": f"gwen-{run}@example.com",
        "email_verified": True,
        "name": "Gwen",
    }
    ids = []
    async with local_provider(port, person) as issuer, greenroom_client.connect(address) as gwen:
        for _ in range(2):
            begun = await gwen.oauth.StartOAuth(
                oauth.StartOAuthRequest(
                    provider="google",
                    redirect_uri=f"{issuer}/signed-in",
                    purpose=oauth.AUTHORIZATION_PURPOSE_SIGN_IN,
                )
            )
            query = await asyncio.to_thread(_consent, begun.authorization_url, person["sub"])
            reply = await gwen.oauth.CompleteOAuth(
                oauth.CompleteOAuthRequest(
                    state=query["state"], code=query["code"], binding_secret=begun.binding_secret
                )
            )
            ids.append(reply.signed_in.user.id)
            gwen.keep(reply.signed_in)
        me = (await gwen.auth.GetMe(auth.GetMeRequest())).user
        linked = (
            await gwen.identities.ListIdentities(identities.ListIdentitiesRequest())
        ).identities
        expect(ids[0] == ids[1] == me.id, "the same person comes back to the same account")
        expect(me.email == person["email"], "with the address that the provider has verified")
        expect([identity.provider for identity in linked] == ["google"], "Google is linked")
        await gwen.log_out()
    done("Gwen signed up with Google (a local provider plays its part), and came back in with it")


def _consent(url: str, subject: str) -> dict[str, str]:
    """What a browser does at the provider; the query that it is sent back with."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_arguments: Any) -> None:
            return None

    body = urllib.parse.urlencode({"sub": subject}).encode()
    try:
        urllib.request.build_opener(Stay).open(url, data=body, timeout=10)
    except urllib.error.HTTPError as redirect:
        target = redirect.headers["location"]
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(target).query))
    raise RuntimeError("the provider did not send the user back")


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310
        content: bytes = reply.read()
        return content
