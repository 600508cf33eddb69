"""Passkeys: registration, log-in, proof for Reauthenticate, list and removal.

A challenge is consumed by the first answer that comes, right or wrong, in the unit of its effect;
so each answer is one try, and of parallel callers with one answer the database lets one through.
Nothing else is counted: there is nothing short to guess in a signature.
"""

from dataclasses import dataclass
from datetime import datetime

import peewee

from server.auth import audit_actions as actions
from server.auth.ceremonies import (
    Account,
    Assertion,
    KnownPasskey,
    MadeCredential,
    RelyingParty,
    read_assertion,
    read_registration,
)
from server.auth.errors import (
    PasskeyChallengeInvalid,
    PasskeyCountRegressed,
    PasskeyExists,
    PasskeyInvalid,
    PasskeyNotFound,
    PasskeyRejected,
    ProofRejected,
    TooManyPasskeys,
)
from server.auth.issuing import Device, hash_of
from server.auth.models import Passkey, PasskeyChallenge, User
from server.auth.rules import (
    MOST_PASSKEYS,
    PASSKEY_CHALLENGE_LIFE,
    PasskeyCeremony,
    count_went_back,
    plain_text,
)
from server.auth.usecases.log_in import Identifier
from server.auth.usecases.reauthentication import raise_session
from server.auth.usecases.second_factors import locked_caller, locked_user, tell_of_factor
from server.auth.usecases.signing_in import SignInDesk, SignInOutcome, finish_sign_in
from server.auth.usecases.users import may_sign_in
from server.auth.usecases.ways_in import check_other_way_in
from server.core.db import locked_one
from server.core.errors import CredentialsInvalid, GreenroomError, Refused, Unauthenticated
from server.core.ids import new_secret
from server.core.pagination import Order, Page, Pages, paginate
from server.core.unit import Unit

METHOD = "passkey"
"""How sessions remember this way in."""


@dataclass(frozen=True, slots=True)
class PasskeyDesk:
    """What the passkey use cases need beside the unit."""

    party: RelyingParty
    sign_in: SignInDesk


@dataclass(frozen=True, slots=True)
class Options:
    """What a browser is handed; ``text`` is JSON and holds the challenge."""

    text: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class ProvenUse:
    """A passkey that has just proven its owner; both are locked."""

    passkey: Passkey
    user: User


def start_registration(unit: Unit, *, desk: PasskeyDesk) -> Options:
    """Options for a new passkey of the caller, good for the calling session alone."""
    user = User.get_or_none(User.id == unit.caller.user_id)
    if user is None:
        raise CredentialsInvalid
    own = list(Passkey.for_owner(unit.caller).order_by(Passkey.id))
    if len(own) >= MOST_PASSKEYS:
        raise TooManyPasskeys(most=MOST_PASSKEYS)
    # One handle for all passkeys of a user, so that an authenticator holds one of each account.
    handle = own[0].user_handle if own else new_secret()
    challenge, expires = _new_challenge(
        unit,
        PasskeyCeremony.REGISTRATION,
        user=user.id,
        session=unit.caller.session_id,
        user_handle=handle,
    )
    account = Account(handle, _name_of(user), user.display_name or _name_of(user))
    known = [KnownPasskey(row.credential_id, tuple(row.transports)) for row in own]
    return Options(desk.party.creation_options(challenge, account, known), expires)


def finish_registration(
    unit: Unit, answer: str, label: str, *, desk: PasskeyDesk
) -> Passkey | Refused:
    """Keeps the passkey that the caller's authenticator has made."""
    new = read_registration(answer)
    challenge = _consumed(
        unit,
        new.claims.challenge,
        PasskeyCeremony.REGISTRATION,
        (PasskeyChallenge.user == unit.caller.user_id)
        & (PasskeyChallenge.session == unit.caller.session_id),
    )
    if challenge is None:
        return _not_added(unit, PasskeyChallengeInvalid())
    if problem := desk.party.problem_with(new.claims):
        return _not_added(unit, problem)
    try:
        made = desk.party.verified_registration(new, new.claims.challenge)
    except PasskeyInvalid as error:
        return _not_added(unit, error)
    user = locked_caller(unit)
    if Passkey.for_user(user.id).count() >= MOST_PASSKEYS:
        return _not_added(unit, TooManyPasskeys(most=MOST_PASSKEYS))
    passkey = _stored(unit, user, made, challenge.user_handle or "", plain_text(label))
    if passkey is None:
        return _not_added(unit, PasskeyExists())
    unit.audit(actions.PASSKEY_ADD, resource=f"passkeys/{passkey.id}")
    tell_of_factor(unit, user, desk.sign_in.outbox, "passkey_added")
    return passkey


def start_log_in(unit: Unit, who: Identifier | None, *, desk: PasskeyDesk) -> Options:
    """Options that any passkey can answer, or one of the named account alone. They look the same,
    and cost the same, whether there is such an account and whatever it has."""
    user = None if who is None else User.by_identifier(who.kind, who.folded)
    challenge, expires = _new_challenge(
        unit,
        PasskeyCeremony.LOG_IN,
        discoverable=who is None,
        user=None if user is None else user.id,
    )
    return Options(desk.party.request_options(challenge), expires)


def finish_log_in(
    unit: Unit, answer: str, device: Device, *, desk: PasskeyDesk
) -> SignInOutcome | Refused:
    """Signs in whoever the passkey belongs to."""
    proven = verify_assertion(unit, answer, party=desk.party)
    if isinstance(proven, GreenroomError):
        unit.audit(actions.LOG_IN, result=_result_of(proven), by=METHOD)
        return Refused(proven)
    if not may_sign_in(proven.user, unit.now):
        result = _result_of(PasskeyRejected())
        unit.audit(actions.LOG_IN, resource=f"users/{proven.user.id}", result=result, by=METHOD)
        return Refused(PasskeyRejected())
    return finish_sign_in(unit, proven.user, device, desk=desk.sign_in, method=METHOD)


def reauthenticate(unit: Unit, answer: str, *, desk: PasskeyDesk) -> datetime | Refused:
    """Raises the calling session by a passkey of the calling user; until when. The challenge is one
    of StartPasskeyLogin: whoever holds an unused answer could log in with it just as well."""
    proven = verify_assertion(unit, answer, party=desk.party, owner=unit.caller.user_id)
    if isinstance(proven, GreenroomError):
        unit.audit(
            actions.REAUTHENTICATE,
            resource=f"sessions/{unit.caller.session_id}",
            result=_result_of(proven),
            by=METHOD,
        )
        # The caller is signed in: UNAUTHENTICATED would say that their token is not good.
        return Refused(ProofRejected() if isinstance(proven, Unauthenticated) else proven)
    return raise_session(unit, METHOD, desk=desk.sign_in)


def verify_assertion(
    unit: Unit, answer: str, *, party: RelyingParty, owner: str = ""
) -> ProvenUse | GreenroomError:
    """Whose passkey has answered a challenge of StartPasskeyLogin, or why it counts for nothing;
    that is returned, because the challenge is consumed either way. With ``owner`` nobody else's
    passkey counts. ``PasskeyInvalid`` is raised for what cannot be read at all."""
    assertion = read_assertion(answer)
    challenge = _consumed(unit, assertion.claims.challenge, PasskeyCeremony.LOG_IN)
    if challenge is None:
        return PasskeyChallengeInvalid()
    if problem := party.problem_with(assertion.claims):
        return problem
    found = Passkey.get_or_none(Passkey.credential_id == assertion.credential_id)
    if found is None or (owner and found.user_id != owner):
        return PasskeyRejected()
    if not challenge.discoverable and challenge.user_id != found.user_id:
        return PasskeyChallengeInvalid()
    # The user first, as whoever removes a passkey does; behind that lock both are read anew.
    user = locked_user(found.user_id)
    passkey = locked_one(Passkey, Passkey.id == found.id)
    if user is None or passkey is None:
        return PasskeyRejected()
    return _used(unit, passkey, user, assertion, party)


def _used(
    unit: Unit, passkey: Passkey, user: User, assertion: Assertion, party: RelyingParty
) -> ProvenUse | GreenroomError:
    """Checks the signature, then what it covers, and notes the use."""
    use = party.verified_use(assertion, assertion.claims.challenge, passkey.public_key)
    if use is None or assertion.user_handle != passkey.user_handle:
        return PasskeyRejected()
    if count_went_back(passkey.sign_count, use.sign_count):
        return PasskeyCountRegressed()
    passkey.sign_count = use.sign_count
    passkey.backup_eligible = use.backup_eligible
    passkey.backed_up = use.backed_up
    passkey.user_verified = True
    passkey.last_used_at = unit.now
    passkey.update_time = unit.now
    passkey.save()
    return ProvenUse(passkey, user)


def list_passkeys(unit: Unit, pages: Pages, *, page_size: int, page_token: str) -> Page[Passkey]:
    """The caller's passkeys, oldest first."""
    return paginate(
        pages,
        Passkey.for_owner(unit.caller),
        order=[Order(Passkey.id)],
        page_size=page_size,
        page_token=page_token,
        scope={"list": "passkeys", "user": unit.caller.user_id},
    )


def delete_passkey(unit: Unit, passkey_id: str, *, desk: PasskeyDesk) -> None:
    """Removes one of the caller's passkeys, unless it is their last way in."""
    user = locked_user(unit.caller.user_id)
    passkey = Passkey.for_owner(unit.caller).where(Passkey.id == passkey_id).get_or_none()
    if user is None or passkey is None:
        raise PasskeyNotFound
    check_other_way_in(user)
    passkey.delete_instance()
    unit.audit(actions.PASSKEY_REMOVE, resource=f"passkeys/{passkey.id}")
    tell_of_factor(unit, user, desk.sign_in.outbox, "passkey_removed")


def _new_challenge(unit: Unit, ceremony: PasskeyCeremony, **bound: object) -> tuple[str, datetime]:
    challenge = new_secret()
    expires = unit.now + PASSKEY_CHALLENGE_LIFE
    PasskeyChallenge.create(
        challenge_hash=hash_of(challenge), kind=ceremony, expires_at=expires, **bound
    )
    return challenge, expires


def _consumed(
    unit: Unit, challenge: str, ceremony: PasskeyCeremony, bound: object = True
) -> PasskeyChallenge | None:
    """The challenge, which is now used up; ``None`` when it was not there to be used. The condition
    is the database's: of parallel answers one finds the challenge unused."""
    good = (
        (PasskeyChallenge.challenge_hash == hash_of(challenge))
        & (PasskeyChallenge.kind == ceremony)
        & PasskeyChallenge.consumed_at.is_null()
        & (PasskeyChallenge.expires_at > unit.now)
    )
    if bound is not True:
        good &= bound
    taken = PasskeyChallenge.update(consumed_at=unit.now, update_time=unit.now).where(good)
    if taken.execute() != 1:
        return None
    row: PasskeyChallenge = PasskeyChallenge.get(
        PasskeyChallenge.challenge_hash == hash_of(challenge)
    )
    return row


def _stored(
    unit: Unit, user: User, made: MadeCredential, handle: str, label: str
) -> Passkey | None:
    """The row of a new passkey; ``None`` when the credential is registered already."""
    try:
        with unit.savepoint():
            passkey: Passkey = Passkey.create(
                user=user.id,
                user_handle=handle,
                credential_id=made.credential_id,
                public_key=made.public_key,
                sign_count=made.sign_count,
                transports=list(made.transports),
                aaguid=made.aaguid,
                label=label,
                backup_eligible=made.backup_eligible,
                backed_up=made.backed_up,
                user_verified=True,
            )
    except peewee.IntegrityError:
        return None
    return passkey


def _not_added(unit: Unit, error: GreenroomError) -> Refused:
    unit.audit(actions.PASSKEY_ADD, result=_result_of(error))
    return Refused(error)


def _result_of(error: GreenroomError) -> str:
    return error.reason.removeprefix("AUTH_ERROR_REASON_")


def _name_of(user: User) -> str:
    """What the browser's list of accounts shows."""
    return user.email or user.username or user.phone or user.id
