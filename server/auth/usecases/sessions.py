"""Sessions after they are opened: refresh, list, end."""

from server.auth import audit_actions as actions
from server.auth.errors import RefreshTokenInvalid, RefreshTokenReused, SessionNotFound
from server.auth.issuing import IssuedTokens, TokenIssuer, hash_of
from server.auth.mails import reuse_mail
from server.auth.models import RefreshToken, Session, User
from server.auth.outbox import Outbox
from server.auth.rules import (
    LONGEST_USER_AGENT,
    RefreshVerdict,
    RevokeReason,
    check_rank,
    may_act,
    refresh_verdict,
    session_open,
)
from server.auth.usecases.endings import end_all_sessions as end_all_sessions
from server.auth.usecases.endings import end_session as end_session
from server.auth.usecases.signing_in import SignInDesk
from server.auth.usecases.users import acting, rights_of
from server.core.db import locked, locked_one
from server.core.errors import Refused
from server.core.ids import new_id
from server.core.pagination import Order, Page, Pages, paginate
from server.core.sealing import SealBroken
from server.core.unit import Unit


def refresh_tokens(unit: Unit, presented: str, *, desk: SignInDesk) -> IssuedTokens | Refused:
    """Trades a refresh token for a new pair.

    The session row is locked first, so that of parallel calls one rotates and the others see a
    spent token: within the grace they get the same successor. A later use of a spent token ends the
    session with all its tokens in this same unit.
    """
    issuer = desk.issuer
    session, token = _locked(presented)
    user = User.get_by_id(session.user_id)
    if not _usable(session, user, unit):
        raise RefreshTokenInvalid
    verdict = refresh_verdict(
        used_at=token.used_at,
        expires_at=token.expires_at,
        now=unit.now,
        grace=issuer.lifetimes.grace,
    )
    if verdict is RefreshVerdict.EXPIRED:
        raise RefreshTokenInvalid
    if verdict is RefreshVerdict.REUSED:
        return _revoke_reused(unit, session, user, desk.outbox)
    if verdict is RefreshVerdict.LIVE:
        secret = _rotate(unit, session, token, issuer)
    else:
        secret = _leaf_of(token, issuer)
    roles, _ = rights_of(user.id)
    tokens = issuer.tokens_of(session, secret, session.expires_at, unit.now, roles=roles)
    session.save()
    return tokens


def _locked(presented: str) -> tuple[Session, RefreshToken]:
    """The token as it stands once its session is locked, and the session."""
    found = RefreshToken.get_or_none(RefreshToken.token_hash == hash_of(presented))
    if found is None:
        raise RefreshTokenInvalid
    session = locked_one(Session, Session.id == found.session_id)
    token = RefreshToken.get_or_none(RefreshToken.id == found.id)
    if session is None or token is None:
        raise RefreshTokenInvalid
    return session, token


def _usable(session: Session, user: User, unit: Unit) -> bool:
    return may_act(user.status, user.suspended_until, unit.now) and session_open(
        is_revoked=session.is_revoked,
        expires_at=session.expires_at,
        absolute_expires_at=session.absolute_expires_at,
        now=unit.now,
    )


def _rotate(unit: Unit, session: Session, token: RefreshToken, issuer: TokenIssuer) -> str:
    """Spends the live token and puts its successor in place; the successor's secret."""
    secret = issuer.new_refresh_secret()
    session.expires_at = issuer.lifetimes.session_end(unit.now, session.absolute_expires_at)
    session.last_refresh_at = unit.now
    session.refresh_count += 1
    session.last_active_at = unit.now.replace(second=0, microsecond=0)
    session.ip = unit.address
    session.user_agent = unit.user_agent[:LONGEST_USER_AGENT]
    session.update_time = unit.now
    successor_id = new_id()
    token.used_at = unit.now
    token.update_time = unit.now
    token.successor_id = successor_id
    token.successor_sealed = issuer.seal_successor(token, secret)
    token.save()
    RefreshToken.create(
        id=successor_id,
        session=session.id,
        family=token.family,
        token_hash=hash_of(secret),
        expires_at=session.expires_at,
    )
    return secret


def _leaf_of(token: RefreshToken, issuer: TokenIssuer) -> str:
    """The secret of the live token that descends from one used within the grace. A client
    that lost a reply may be several steps behind another tab of its own; each step is as recent."""
    secret = ""
    while token.used_at is not None:
        successor = RefreshToken.get_or_none(RefreshToken.id == token.successor_id)
        if successor is None or token.successor_sealed is None:
            raise RefreshTokenInvalid
        try:
            secret = issuer.open_successor(token)
        except SealBroken:
            # Sealed under a key that was withdrawn, or moved here from another row.
            raise RefreshTokenInvalid from None
        if successor.token_hash != hash_of(secret):
            raise RefreshTokenInvalid
        token = successor
    return secret


def _revoke_reused(unit: Unit, session: Session, user: User, outbox: Outbox) -> Refused:
    end_session(unit, session, RevokeReason.REUSE)
    unit.audit(
        actions.REFRESH_REUSED,
        resource=f"sessions/{session.id}",
        result="REUSED",
        actor_id=user.id,
    )
    if user.email is not None:
        mail = reuse_mail(user.email, user.language, session.device_info, unit.now)
        outbox.enqueue(unit, mail)
    return Refused(RefreshTokenReused())


def log_out(unit: Unit) -> None:
    """Ends the session of the caller; one that has ended stays ended."""
    session = _locked_session(unit, unit.caller.session_id)
    if session is None or session.is_revoked:
        return
    end_session(unit, session, RevokeReason.LOGOUT)
    unit.audit(actions.LOG_OUT, resource=f"sessions/{session.id}")


def revoke_session(unit: Unit, session_id: str) -> None:
    """Ends one of the caller's sessions, or anybody's when an administrator calls.

    ``SessionNotFound`` for an unknown one and for somebody else's; ``SuperAdminOnly`` for that of
    somebody above the caller.
    """
    session = _locked_session(unit, session_id)
    if session is None:
        raise SessionNotFound(session_id=session_id)
    own = session.user_id == unit.caller.user_id
    if not own:
        check_rank(acting(unit), rights_of(session.user_id)[0])
    if session.is_revoked:
        return
    end_session(unit, session, RevokeReason.REVOKED if own else RevokeReason.ADMIN)
    unit.audit(actions.REVOKE_SESSION, resource=f"sessions/{session.id}", owner=session.user_id)


def revoke_other_sessions(unit: Unit) -> int:
    """Ends the caller's open sessions but the calling one; how many there were."""
    caller = unit.caller
    ended = end_all_sessions(unit, caller.user_id, RevokeReason.REVOKED, but=caller.session_id)
    unit.audit(actions.REVOKE_OTHER_SESSIONS, resource=f"users/{caller.user_id}", ended=ended)
    return ended


def _locked_session(unit: Unit, session_id: str) -> Session | None:
    reachable = Session.within_reach_of(unit.caller).where(Session.id == session_id)
    found: Session | None = locked(reachable).get_or_none()
    return found


def list_sessions(unit: Unit, pages: Pages, *, page_size: int, page_token: str) -> Page[Session]:
    """The caller's open sessions, last used first."""
    return paginate(
        pages,
        Session.open_for(unit.caller.user_id, unit.now),
        order=[Order(Session.last_active_at, descending=True), Order(Session.id, descending=True)],
        page_size=page_size,
        page_token=page_token,
        scope={"list": "sessions", "user": unit.caller.user_id},
    )
