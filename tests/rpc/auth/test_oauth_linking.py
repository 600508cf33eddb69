"""The linking table, line by line, over the wire (A-19): whoever holds an identity gets what its line
says, and never an account because an address is the same."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from server.auth.models import Identity, Session, User
from server.auth.rules import UserStatus
from tests.rpc.auth.oauth_scenes import (
    LINK,
    LINK_REQUIRED,
    TAKEN,
    identities_of,
    identity_rows,
    link,
    link_with,
    person_of,
    set_row,
    settings_for,
    sign_in_with,
    travel,
)
from tests.rpc.auth.scenes import audit_rows, get_me, in_unit, mail_number, sign_up_request
from tests.support.fake_discord import FakeDiscord
from tests.support.serve import Greenroom, Person
from tests.support.statuses import failure_of, reason_of, refused

MUST_LINK = (StatusCode.FAILED_PRECONDITION, LINK_REQUIRED)
OWNER = "owner@example.com"


@pytest.fixture
async def discord() -> AsyncIterator[FakeDiscord]:
    with FakeDiscord() as fake:
        yield fake


@pytest.fixture
async def server(serve: Callable[..., Any], discord: FakeDiscord) -> Greenroom:
    return await serve(**settings_for("discord", discord.url))


async def _owner(server: Greenroom) -> Person:
    await server.sign_up(OWNER, name="Owner")
    return await server.log_in(OWNER)


async def _counts(server: Greenroom) -> tuple[int, int, int]:
    return await in_unit(
        server,
        lambda _: (User.select().count(), Session.select().count(), Identity.select().count()),
    )


# --- nobody is signed in ---------------------------------------------------------------------------


@pytest.mark.parametrize("verified", [True, False])
async def test_a_known_identity_signs_in_whatever_its_address(
    server: Greenroom, discord: FakeDiscord, verified: bool
) -> None:
    discord.add("1", "old@example.com", verified=verified)
    first = await sign_in_with(server, "discord", "1")
    await _owner(server)
    discord.add("1", OWNER, verified=verified)
    again = await sign_in_with(server, "discord", "1")
    assert again.signed_in.user.id == first.signed_in.user.id and not again.signed_up
    # The account keeps its address: an identity never changes it.
    assert again.signed_in.user.email == ("old@example.com" if verified else "")


@pytest.mark.parametrize("local", ["none", "unproven", "proven"])
async def test_an_unverified_address_signs_up_without_it(
    server: Greenroom, discord: FakeDiscord, local: str
) -> None:
    """Discord's ``verified``: the API shows an address that nobody has proven like any other. The
    answers are alike whether there is an account or not."""
    if local != "none":
        await _owner(server)
    if local == "unproven":
        await set_row(server, OWNER, email_verified_at=None)
    discord.add("1", OWNER, verified=False)
    reply = await sign_in_with(server, "discord", "1")
    assert reply.signed_up
    user = reply.signed_in.user
    assert user.email == "" and not user.HasField("email_verified_time")
    assert user.display_name == "User 1" and user.signup_provider == "discord"
    owned = await in_unit(server, lambda _: User.get_or_none(User.email == OWNER))
    assert owned is None or owned.id != user.id


@pytest.mark.parametrize("flag", [None, "true", 1, "yes"])
async def test_only_a_true_flag_counts(
    server: Greenroom, discord: FakeDiscord, flag: object
) -> None:
    discord.add("1", OWNER)
    discord.people["1"]["verified"] = flag
    assert (await sign_in_with(server, "discord", "1")).signed_in.user.email == ""


async def test_a_verified_address_nobody_has_signs_up_with_it(
    server: Greenroom, discord: FakeDiscord
) -> None:
    discord.add("1", "New.Person@Example.COM")
    # Somebody else has begun a sign-up with the address and holds a mailed token: it is void.
    await server.auth.SignUp(sign_up_request("new.person@example.com"))
    token = await server.mailed_token("new.person@example.com")
    reply = await sign_in_with(server, "discord", "1")
    assert reply.signed_up and reply.signed_in.user.email == "new.person@example.com"
    assert reply.signed_in.user.HasField("email_verified_time")
    await refused(
        server.auth.VerifyEmail(auth_pb.VerifyEmailRequest(token=token)),
        StatusCode.INVALID_ARGUMENT,
        "AUTH_ERROR_REASON_VERIFICATION_TOKEN_INVALID",
    )


@pytest.mark.parametrize("spelling", [OWNER, OWNER.upper(), "Owner@Example.Com", f" {OWNER} "])
async def test_a_verified_address_with_a_proven_account_must_be_linked(
    server: Greenroom, discord: FakeDiscord, spelling: str
) -> None:
    await _owner(server)
    before = await _counts(server)
    discord.add("1", spelling)
    await refused(sign_in_with(server, "discord", "1"), *MUST_LINK)
    assert await _counts(server) == before
    assert ("session.log_in", "LINK_REQUIRED") in await audit_rows(server)


async def test_a_verified_address_with_an_unproven_account_must_be_linked(
    serve: Callable[..., Any], discord: FakeDiscord
) -> None:
    """Somebody prepared an account for an address that is not theirs: the owner of the address is not
    led into it, and the account does not get the owner's identity."""
    server = await serve(auto_activate=True, **settings_for("discord", discord.url))
    await server.auth.SignUp(sign_up_request(OWNER))
    token = await server.mailed_token(OWNER)
    squatter = await server.log_in(OWNER)
    discord.add("1", OWNER)
    await refused(sign_in_with(server, "discord", "1"), *MUST_LINK)
    # Nor can the squatter leave a way in of their own behind.
    discord.add("2", "squatter@example.com")
    await refused(
        link_with(server, squatter, "discord", "2"),
        StatusCode.FAILED_PRECONDITION,
        "AUTH_ERROR_REASON_EMAIL_UNVERIFIED",
    )
    await server.auth.VerifyEmail(auth_pb.VerifyEmailRequest(token=token))
    owner = await server.log_in(OWNER)
    await link_with(server, owner, "discord", "1")
    assert (await sign_in_with(server, "discord", "1")).signed_in.user.id == owner.id


async def test_whoever_wins_an_address_back_shares_it_with_no_identity(
    serve: Callable[..., Any], discord: FakeDiscord
) -> None:
    server = await serve(auto_activate=True, **settings_for("discord", discord.url))
    await server.auth.SignUp(sign_up_request(OWNER))
    squatter = await server.log_in(OWNER)
    await set_row(server, OWNER, email_verified_at=server.clock.now())
    discord.add("2", None)
    await link_with(server, squatter, "discord", "2")
    await set_row(server, OWNER, email_verified_at=None)
    await server.auth.SignUp(sign_up_request(OWNER, "the owner's own long password"))
    token = await server.mailed_token(OWNER, 3)
    await server.auth.VerifyEmail(auth_pb.VerifyEmailRequest(token=token))
    assert await identity_rows(server) == []
    assert (await sign_in_with(server, "discord", "2")).signed_in.user.id != squatter.id


@pytest.mark.parametrize("status", [UserStatus.SUSPENDED, UserStatus.BANNED, UserStatus.PENDING])
async def test_a_locked_account_stays_locked(
    server: Greenroom, discord: FakeDiscord, status: UserStatus
) -> None:
    discord.add("1", OWNER)
    await sign_in_with(server, "discord", "1")
    await set_row(server, OWNER, status=status)
    await refused(
        sign_in_with(server, "discord", "1"),
        StatusCode.UNAUTHENTICATED,
        "AUTH_ERROR_REASON_BAD_CREDENTIALS",
    )


# --- somebody is signed in -------------------------------------------------------------------------


async def test_without_a_fresh_factor_nothing_is_linked(
    server: Greenroom, discord: FakeDiscord
) -> None:
    owner = await _owner(server)
    discord.add("1", OWNER)
    trip = await travel(server, "discord", "1", LINK)
    await server.stale(owner)
    for _ in range(2):
        await refused(
            link(server, owner, trip),
            StatusCode.PERMISSION_DENIED,
            "WIRE_ERROR_REASON_STEP_UP_REQUIRED",
        )
    assert await identity_rows(server) == []
    fresh = await server.log_in(OWNER)
    # The refusal came before the state was looked at.
    assert (await link(server, fresh, trip)).provider == "discord"


@pytest.mark.parametrize("verified", [True, False])
@pytest.mark.parametrize("told", [OWNER, "other@example.com", None])
async def test_a_free_identity_is_linked_whatever_its_address(
    server: Greenroom, discord: FakeDiscord, verified: bool, told: str | None
) -> None:
    owner = await _owner(server)
    discord.add("1", told, verified=verified)
    linked = await link_with(server, owner, "discord", "1")
    assert (linked.provider_account_id, linked.email) == ("1", told or "")
    assert linked.email_verified == (verified and told is not None)
    assert (await get_me(server, owner.metadata)).email == OWNER
    assert (await sign_in_with(server, "discord", "1")).signed_in.user.id == owner.id
    mail = await mail_number(server, OWNER, 2)
    assert mail["subject"] == "You can sign in with Discord now"


async def test_an_account_without_an_address_links_another(
    server: Greenroom, discord: FakeDiscord
) -> None:
    discord.add("1", None)
    discord.add("2", None)
    ada = person_of((await sign_in_with(server, "discord", "1")).signed_in)
    await link_with(server, ada, "discord", "2")
    assert [one.provider_account_id for one in await identities_of(server, ada)] == ["2", "1"]


async def test_an_address_that_nobody_has_proven_links_nothing(
    server: Greenroom, discord: FakeDiscord
) -> None:
    owner = await _owner(server)
    await set_row(server, OWNER, email_verified_at=None)
    discord.add("1", OWNER)
    await refused(
        link_with(server, owner, "discord", "1"),
        StatusCode.FAILED_PRECONDITION,
        "AUTH_ERROR_REASON_EMAIL_UNVERIFIED",
    )
    assert await identity_rows(server) == []


async def test_an_identity_of_somebody_else_stays_theirs(
    server: Greenroom, discord: FakeDiscord
) -> None:
    discord.add("1", "victim@example.com")
    victim = await sign_in_with(server, "discord", "1")
    owner = await _owner(server)
    for _ in range(2):
        await refused(link_with(server, owner, "discord", "1"), StatusCode.ALREADY_EXISTS, TAKEN)
    again = await sign_in_with(server, "discord", "1")
    assert again.signed_in.user.id == victim.signed_in.user.id
    assert await identities_of(server, owner) == []


async def test_an_identity_of_ones_own_is_renewed(server: Greenroom, discord: FakeDiscord) -> None:
    owner = await _owner(server)
    discord.add("1", OWNER)
    first = await link_with(server, owner, "discord", "1")
    discord.add("1", OWNER, global_name="Renamed")
    second = await link_with(server, owner, "discord", "1")
    assert (second.id, second.display_name) == (first.id, "Renamed")
    rows = [row for row in await audit_rows(server) if row[0] == "identity.link"]
    assert rows == [("identity.link", "OK"), ("identity.link", "RENEWED")]


async def test_of_two_who_link_one_identity_at_once_one_gets_it(
    server: Greenroom, discord: FakeDiscord
) -> None:
    discord.add("1", None)
    people = [await server.person(f"person{number}") for number in range(4)]
    trips = [await travel(server, "discord", "1", LINK) for _ in people]

    async def attempt(person: Person, number: int) -> str:
        try:
            await link(server, person, trips[number])
        except Exception as error:
            return reason_of(error)  # type: ignore[arg-type]
        return "linked"

    ended = await asyncio.gather(*(attempt(who, number) for number, who in enumerate(people)))
    assert sorted(ended) == [TAKEN] * 3 + ["linked"]


async def test_another_issuer_under_the_same_name_is_somebody_else(
    server: Greenroom, discord: FakeDiscord
) -> None:
    discord.add("1", None)
    await sign_in_with(server, "discord", "1")

    def move(_: Any) -> None:
        Identity.update(issuer="https://old.example.com").execute()

    await in_unit(server, move, write=True)
    error = await failure_of(sign_in_with(server, "discord", "1"))
    assert reason_of(error) == "AUTH_ERROR_REASON_OAUTH_PROOF_INVALID"
    owner = await _owner(server)
    await refused(
        link_with(server, owner, "discord", "1"),
        StatusCode.INVALID_ARGUMENT,
        "AUTH_ERROR_REASON_OAUTH_PROOF_INVALID",
    )
