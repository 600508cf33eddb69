"""Logging in: count the try, let the password be checked outside of any transaction, then
finish."""

from dataclasses import dataclass

from server.auth import audit_actions as actions
from server.auth.errors import BadCredentials, TooManyAttempts
from server.auth.events import LoggedIn, UserChanged
from server.auth.issuing import Device, IssuedTokens, TokenIssuer, hash_of
from server.auth.models import Credential, RefreshToken, Session, User
from server.auth.passwords import ALGORITHM, Verdict
from server.auth.rules import LONGEST_USER_AGENT, fold_email, fold_username, may_act
from server.auth.usecases.attempts import Subjects, count_try, subjects_of, take_back
from server.auth.usecases.users import UserView, view_of
from server.core.errors import Refused
from server.core.ids import new_id
from server.core.sealing import Keyring
from server.core.unit import Unit

_FOLDS = {"email": fold_email, "username": fold_username, "phone": str.strip}


@dataclass(frozen=True, slots=True)
class Identifier:
    """Who wants to log in; ``kind`` is ``email``, ``phone`` or ``username``."""

    kind: str
    value: str

    @property
    def folded(self) -> str:
        """The value in the form it is stored in."""
        return _FOLDS[self.kind](self.value)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Whose password has to be checked. For an unknown account everything is empty."""

    subjects: Subjects
    user_id: str = ""
    password_hash: str | None = None
    algorithm: str = ALGORITHM


@dataclass(frozen=True, slots=True)
class SignedInUser:
    """An opened session, its tokens and its user."""

    session: Session
    tokens: IssuedTokens
    user: UserView


def begin_log_in(
    unit: Unit, identifier: Identifier, device: Device, *, keyring: Keyring
) -> Candidate | Refused:
    """Counts the try, to be committed before the password is looked at; refuses when the account or
    the address has to wait. An unknown identifier is treated like a known one."""
    user = User.by_identifier(identifier.kind, identifier.folded).get_or_none()
    tried = f"{identifier.kind}:{identifier.folded}"
    subjects = subjects_of(unit, keyring, user, tried, device.address)
    wait = count_try(unit, subjects)
    if wait > 0:
        unit.audit(actions.LOG_IN, resource=_resource_of(user), result="TOO_MANY_ATTEMPTS")
        return Refused(TooManyAttempts(retry_after=wait))
    credential = None if user is None else Credential.get_or_none(Credential.user == user.id)
    if user is None or credential is None:
        return Candidate(subjects)
    return Candidate(subjects, user.id, credential.password_hash, credential.algorithm)


def complete_log_in(
    unit: Unit, candidate: Candidate, verdict: Verdict, device: Device, *, issuer: TokenIssuer
) -> SignedInUser | Refused:
    """Opens a session when the password was right and the account is in use."""
    user = User.get_or_none(User.id == candidate.user_id) if verdict.matches else None
    if (
        user is None
        or not may_act(user.status, user.suspended_until, unit.now)
        or not _still_valid(unit, candidate, verdict)
    ):
        tried = f"users/{candidate.user_id}" if candidate.user_id else ""
        unit.audit(actions.LOG_IN, resource=tried, result="BAD_CREDENTIALS")
        return Refused(BadCredentials())
    take_back(unit, candidate.subjects)
    user.last_login_at = unit.now
    user.save()
    session, tokens = open_session(unit, user, device, issuer=issuer, methods=["password"])
    unit.audit(actions.LOG_IN, resource=f"sessions/{session.id}", actor_id=user.id)
    unit.emit(LoggedIn(user_id=user.id, session_id=session.id))
    unit.emit(UserChanged(user_id=user.id))
    return SignedInUser(session, tokens, view_of(user))


def open_session(
    unit: Unit, user: User, device: Device, *, issuer: TokenIssuer, methods: list[str]
) -> tuple[Session, IssuedTokens]:
    """Opens a session for a user who has proven who they are, with the first token of its
    family."""
    lifetimes = issuer.lifetimes
    absolute_end = unit.now + lifetimes.absolute
    session = Session(
        user=user.id,
        device_info=device.name,
        ip=device.address,
        user_agent=device.user_agent[:LONGEST_USER_AGENT],
        expires_at=lifetimes.session_end(unit.now, absolute_end),
        absolute_expires_at=absolute_end,
        last_active_at=unit.now.replace(second=0, microsecond=0),
        refresh_token_family=new_id(),
        auth_methods=methods,
    )
    secret = issuer.new_refresh_secret()
    tokens = issuer.tokens_of(session, secret, session.expires_at, unit.now)
    session.save(force_insert=True)
    RefreshToken.create(
        session=session.id,
        family=session.refresh_token_family,
        token_hash=hash_of(secret),
        expires_at=session.expires_at,
    )
    return session, tokens


def _still_valid(unit: Unit, candidate: Candidate, verdict: Verdict) -> bool:
    """False when the password was changed while it was being checked. Stores a fresh hash if the
    check made one."""
    same = (Credential.user == candidate.user_id) & (
        Credential.password_hash == candidate.password_hash
    )
    if verdict.fresh is None:
        return bool(Credential.select().where(same).exists())
    changed = Credential.update(
        password_hash=verdict.fresh, algorithm=ALGORITHM, update_time=unit.now
    ).where(same)
    return bool(changed.execute() == 1)


def _resource_of(user: User | None) -> str:
    return "" if user is None else f"users/{user.id}"
