"""OAuthService and IdentityService: signing in with a provider, and what is linked.

Providers are asked between two units: the first uses up the state and commits, so that an answer is
tried once whatever the provider says to it; the second does what follows.
"""

from greenroom.auth.v1 import identity_service_pb2 as identity_pb
from greenroom.auth.v1 import oauth_service_pb2 as pb
from server.auth.convert.oauth import (
    answer_from_pb,
    identities_to_pb,
    identity_to_pb,
    signed_in_by_to_pb,
    start_from_pb,
)
from server.auth.convert.sign_in import device_of
from server.auth.convert.times import time_to_pb
from server.auth.errors import (
    OAuthProofInvalid,
    ProviderNotConfigured,
    ProviderUnavailable,
    RedirectUriNotAllowed,
)
from server.auth.provider_port import Answer, Providers
from server.auth.rules import ProvenIdentity, Purpose
from server.auth.usecases import identities, oauth
from server.auth.usecases.oauth import Taken
from server.auth.usecases.signing_in import SignInDesk
from server.core.errors import Refused
from server.core.pagination import Pages
from server.wire.call import Call


class ProviderCounter:
    """Where answers of providers are handed in: what both services do with one."""

    def __init__(self, sign_in: SignInDesk, providers: Providers) -> None:
        self._sign_in = sign_in
        self._providers = providers

    async def prove(
        self, call: Call, answer: Answer, purpose: Purpose
    ) -> tuple[Taken, ProvenIdentity] | Refused:
        """Uses up the state, then asks the provider whom the answer is about."""
        taken = await call.run(
            lambda unit: oauth.take(unit, answer, purpose, keyring=self._sign_in.keyring)
        )
        if isinstance(taken, Refused):
            return taken
        try:
            provider = self._providers.get(taken.provider)
            return taken, await provider.prove(answer, taken.expected)
        except (OAuthProofInvalid, ProviderNotConfigured, ProviderUnavailable) as failure:
            error = failure
        return await call.run(lambda unit: oauth.refuse(unit, purpose, error, by=taken.provider))


class OAuthServicer:
    """greenroom.auth.v1.OAuthService."""

    def __init__(
        self,
        sign_in: SignInDesk,
        providers: Providers,
        counter: ProviderCounter,
        redirect_uris: frozenset[str],
    ) -> None:
        self._sign_in = sign_in
        self._providers = providers
        self._counter = counter
        self._redirect_uris = redirect_uris

    async def StartOAuth(self, request: pb.StartOAuthRequest, call: Call) -> pb.StartOAuthResponse:
        """Makes the secrets, asks the provider for its page, then keeps them."""
        start = start_from_pb(request)
        provider = self._providers.get(start.provider)
        if start.redirect_uri not in self._redirect_uris:
            raise RedirectUriNotAllowed(field="redirect_uri")
        secrets = oauth.new_secrets()
        url = await provider.authorization_url(secrets.opening(start.redirect_uri))
        expires = await call.run(
            lambda unit: oauth.begin(unit, start, secrets, keyring=self._sign_in.keyring)
        )
        return pb.StartOAuthResponse(
            authorization_url=url,
            state=secrets.state,
            binding_secret=secrets.binding,
            nonce=secrets.nonce,
            expire_time=time_to_pb(expires),
        )

    async def CompleteOAuth(
        self, request: pb.CompleteOAuthRequest, call: Call
    ) -> pb.CompleteOAuthResponse | Refused:
        """Has the answer proven, then signs in or up."""
        device = device_of(call, request.device_name)
        found = await self._counter.prove(call, answer_from_pb(request), Purpose.SIGN_IN)
        if isinstance(found, Refused):
            return found
        taken, proven = found
        done = await call.run(
            lambda unit: oauth.complete_sign_in(unit, taken, proven, device, desk=self._sign_in)
        )
        return done if isinstance(done, Refused) else signed_in_by_to_pb(done)


class IdentityServicer:
    """greenroom.auth.v1.IdentityService."""

    def __init__(self, sign_in: SignInDesk, counter: ProviderCounter, pages: Pages) -> None:
        self._sign_in = sign_in
        self._counter = counter
        self._pages = pages

    def ListIdentities(
        self, request: identity_pb.ListIdentitiesRequest, call: Call
    ) -> identity_pb.ListIdentitiesResponse:
        """One page of the caller's identities."""
        page = identities.list_identities(
            call.unit,
            self._pages,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return identities_to_pb(page)

    async def LinkIdentity(
        self, request: identity_pb.LinkIdentityRequest, call: Call
    ) -> identity_pb.LinkIdentityResponse | Refused:
        """Has the answer proven, then links."""
        found = await self._counter.prove(call, answer_from_pb(request), Purpose.LINK)
        if isinstance(found, Refused):
            return found
        _, proven = found
        linked = await call.run(
            lambda unit: identities.complete_link(unit, proven, desk=self._sign_in)
        )
        if isinstance(linked, Refused):
            return linked
        return identity_pb.LinkIdentityResponse(identity=identity_to_pb(linked))

    def UnlinkIdentity(
        self, request: identity_pb.UnlinkIdentityRequest, call: Call
    ) -> identity_pb.UnlinkIdentityResponse:
        """Takes an identity away."""
        identities.unlink_identity(call.unit, request.identity_id, outbox=self._sign_in.outbox)
        return identity_pb.UnlinkIdentityResponse()
