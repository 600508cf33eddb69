"""Locking, deleting and bringing back accounts, and the purge of what stays deleted."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from server.auth import audit_actions as actions
from server.auth.errors import LastSuperAdmin, StatusForbids
from server.auth.events import RightsChanged, UserChanged, UserErasing, UserPurged
from server.auth.mails import (
    MailText,
    account_banned_mail,
    account_deleted_mail,
    account_reinstated_mail,
    account_restored_mail,
    account_suspended_mail,
)
from server.auth.models import (
    Credential,
    RefreshToken,
    Registration,
    Session,
    User,
    UserRole,
    VerificationToken,
)
from server.auth.outbox import Outbox
from server.auth.rules import (
    LONGEST_SUSPENSION,
    SUPER_ADMIN,
    RevokeReason,
    Side,
    UserStatus,
    Verb,
    check_rank,
    check_target,
    may_act,
    may_come_back,
    plain_text,
    shown_status,
    status_after,
    status_kept,
)
from server.auth.usecases.sessions import end_all_sessions
from server.auth.usecases.users import Reached, UserView, reach, tell_rights_changed, view_of
from server.core.db import locked_one
from server.core.errors import InvalidArgument
from server.core.unit import Unit

_ACTION_OF = {
    Verb.SUSPEND: actions.USER_SUSPEND,
    Verb.REINSTATE: actions.USER_REINSTATE,
    Verb.BAN: actions.USER_BAN,
    Verb.DELETE: actions.USER_DELETE,
    Verb.UNDELETE: actions.USER_UNDELETE,
}

PURGE_BATCH = 100
"""Accounts that one look of the purge finds; each is purged in a unit of its own."""


class SuspensionEndInvalid(InvalidArgument):
    """The end of a suspension is past or too far ahead."""

    message = "A suspension ends in the future, and within ten years."


@dataclass(frozen=True, slots=True)
class StaffDesk:
    """What changes of an account's status need beside the unit; ``grace`` is how long a deleted one
    can be brought back."""

    outbox: Outbox
    public_url: str
    grace: timedelta


def suspend(unit: Unit, user_id: str, until: datetime, reason: str, *, desk: StaffDesk) -> UserView:
    """Locks an account until a time; a suspended one gets the new end and reason."""
    if not unit.now < until <= unit.now + LONGEST_SUSPENSION:
        raise SuspensionEndInvalid(field="until_time")
    reached = reach(unit, user_id)
    check_target(reached.actor, user_id, reached.roles)
    after = _after(unit, reached, Verb.SUSPEND)
    _keep_a_super_admin(unit, reached)
    reached.user.suspended_until = until
    return _change(unit, reached, Verb.SUSPEND, after, desk, reason)


def reinstate(unit: Unit, user_id: str, *, desk: StaffDesk) -> UserView:
    """Lifts a suspension or a ban."""
    reached = reach(unit, user_id)
    check_target(reached.actor, user_id, reached.roles)
    after = _after(unit, reached, Verb.REINSTATE)
    if after == reached.user.status:
        return _unchanged(unit, reached)
    reached.user.suspended_until = None
    reached.user.status_before = None
    return _change(unit, reached, Verb.REINSTATE, after, desk)


def ban(unit: Unit, user_id: str, reason: str, *, desk: StaffDesk) -> UserView:
    """Locks an account for good; a banned one stays as it is."""
    reached = reach(unit, user_id)
    check_target(reached.actor, user_id, reached.roles)
    user = reached.user
    after = _after(unit, reached, Verb.BAN)
    if after == user.status:
        return _unchanged(unit, reached)
    _keep_a_super_admin(unit, reached)
    user.status_before = status_kept(user.status, user.status_before)
    user.suspended_until = user.deleted_at = user.deleted_by = user.purge_at = None
    return _change(unit, reached, Verb.BAN, after, desk, reason)


def delete(unit: Unit, user_id: str, reason: str, *, desk: StaffDesk) -> UserView:
    """Deletes an account, to be purged after the grace; a deleted one stays as it is."""
    reached = reach(unit, user_id)
    if reached.side is Side.STAFF:
        check_rank(reached.actor, reached.roles)
    user = reached.user
    after = _after(unit, reached, Verb.DELETE)
    if after == user.status:
        return _unchanged(unit, reached)
    _keep_a_super_admin(unit, reached)
    user.status_before = status_kept(user.status, user.status_before)
    user.deleted_at = unit.now
    user.deleted_by = reached.actor.user_id
    user.purge_at = unit.now + desk.grace
    return _change(unit, reached, Verb.DELETE, after, desk, reason)


def undelete(unit: Unit, user_id: str, *, desk: StaffDesk) -> UserView:
    """Brings a deleted account back in the status that it had; one that is not deleted stays as it
    is. An account past its grace is as good as purged, and one that staff deleted is theirs."""
    reached = reach(unit, user_id)
    side, user = reached.side, reached.user
    if side is Side.STAFF:
        check_rank(reached.actor, reached.roles)
    after = _after(unit, reached, Verb.UNDELETE)
    if after == user.status:
        return _unchanged(unit, reached)
    too_late = user.purge_at is None or user.purge_at <= unit.now
    if too_late or (side is Side.OWNER and not _is_back_by_owner(user, unit.now)):
        raise StatusForbids(status=user.status)
    user.deleted_at = user.deleted_by = user.purge_at = user.status_before = None
    return _change(unit, reached, Verb.UNDELETE, after, desk)


def _is_back_by_owner(user: User, now: datetime) -> bool:
    return may_come_back(
        user.status, user_id=user.id, deleted_by=user.deleted_by, purge_at=user.purge_at, now=now
    )


def _after(unit: Unit, reached: Reached, verb: Verb) -> UserStatus:
    user = reached.user
    present = shown_status(user.status, user.suspended_until, unit.now)
    after = status_after(present, verb, reached.side, user.status_before)
    if after is None:
        raise StatusForbids(status=present)
    return after


def _keep_a_super_admin(unit: Unit, reached: Reached) -> None:
    if SUPER_ADMIN in reached.roles:
        keep_a_super_admin(unit, reached.user.id)


def keep_a_super_admin(unit: Unit, but: str) -> None:
    """Raises ``LastSuperAdmin`` when nobody in use but ``but`` is a super_admin. The role is
    locked."""
    others = User.holding(SUPER_ADMIN).where(User.id != but)
    if not any(may_act(user.status, user.suspended_until, unit.now) for user in others):
        raise LastSuperAdmin


def _change(
    unit: Unit, reached: Reached, verb: Verb, after: UserStatus, desk: StaffDesk, reason: str = ""
) -> UserView:
    """Writes the new status and ends what must not go on."""
    user = reached.user
    before, user.status = user.status, after
    if verb is not Verb.UNDELETE or after is UserStatus.ACTIVE:
        user.status_reason = plain_text(reason) or None
    user.save()
    own = verb is Verb.DELETE and reached.actor.user_id == user.id
    if after is not UserStatus.ACTIVE:
        end_all_sessions(unit, user.id, RevokeReason.DELETED if own else RevokeReason.ADMIN)
    tell_rights_changed(unit, user.id)
    if user.email is not None and user.email_verified_at is not None:
        mail = _mail_of(user, user.email, verb, desk, own=own)
        if mail is not None:
            desk.outbox.enqueue(unit, mail)
    unit.audit(_ACTION_OF[verb], resource=f"users/{user.id}", before=before, after=after)
    return view_of(user, unit.now, for_staff=reached.actor.is_admin)


def _mail_of(user: User, to: str, verb: Verb, desk: StaffDesk, *, own: bool) -> MailText | None:
    """What the person is told; never the reason, which is for staff."""
    if verb is Verb.SUSPEND:
        return account_suspended_mail(to, user.language, user.suspended_until)
    if verb is Verb.BAN:
        return account_banned_mail(to, user.language)
    if verb is Verb.DELETE and user.purge_at is not None:
        return account_deleted_mail(to, user.language, user.purge_at, by_owner=own)
    if user.status != UserStatus.ACTIVE:
        return None  # What came back is still locked.
    told = account_reinstated_mail if verb is Verb.REINSTATE else account_restored_mail
    return told(to, user.language, desk.public_url)


def _unchanged(unit: Unit, reached: Reached) -> UserView:
    return view_of(reached.user, unit.now, for_staff=reached.actor.is_admin)


def due_for_purge(unit: Unit) -> list[str]:
    """Ids of accounts whose grace is over, at most ``PURGE_BATCH``."""
    due: Any = (
        User.select(User.id)
        .where((User.status == UserStatus.DELETED) & (User.purge_at <= unit.now))
        .order_by(User.purge_at)
        .limit(PURGE_BATCH)
    )
    return [user.id for user in due]


def purge(unit: Unit, user_id: str) -> bool:
    """Deletes an account for good, with all that hangs on it; the audit log keeps its id. False
    when it was brought back meanwhile."""
    user = locked_one(User, User.id == user_id)
    if (
        user is None
        or user.status != UserStatus.DELETED
        or user.purge_at is None
        or user.purge_at > unit.now
    ):
        return False
    erase(unit, user_id)
    return True


def erase(unit: Unit, user_id: str) -> None:
    """Deletes the rows of an account, which is locked."""
    unit.emit(UserErasing(user_id))
    sessions = Session.select(Session.id).where(Session.user == user_id)
    session_ids = tuple(session.id for session in sessions)
    # What hangs on what comes first; the rows of later tables follow their user (ON DELETE CASCADE).
    RefreshToken.delete().where(RefreshToken.session.in_(sessions)).execute()
    Session.delete().where(Session.user == user_id).execute()
    VerificationToken.delete().where(VerificationToken.user == user_id).execute()
    Registration.delete().where(Registration.user == user_id).execute()
    UserRole.delete().where(UserRole.user == user_id).execute()
    Credential.delete().where(Credential.user == user_id).execute()
    User.delete().where(User.id == user_id).execute()
    unit.audit(actions.USER_PURGE, resource=f"users/{user_id}")
    unit.emit(RightsChanged(user_id, session_ids))
    unit.emit(UserChanged(user_id))
    unit.emit(UserPurged(user_id))


def lift_suspensions(unit: Unit, most: int) -> int:
    """Makes accounts ACTIVE whose suspension has run out, ``most`` at a time; how many there were.
    They may act from the end on; this only tidies up."""
    over: Any = (
        User.select(User.id)
        .where((User.status == UserStatus.SUSPENDED) & (User.suspended_until <= unit.now))
        .limit(most)
    )
    ids = [user.id for user in over]
    User.update(
        status=UserStatus.ACTIVE, suspended_until=None, status_reason=None, update_time=unit.now
    ).where(User.id.in_(ids) & (User.suspended_until <= unit.now)).execute()
    for user_id in ids:
        unit.emit(UserChanged(user_id))
    return len(ids)
