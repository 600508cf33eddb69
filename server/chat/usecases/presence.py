"""Who is there, as the processes have written it down together.

There is a row for each user and process. Who has gone keeps a row for a minute that says so: whoever missed
the news finds it there. Rows are believed while their process renews them.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

from peewee import EXCLUDED, fn

from server.chat.models import DIRECT, Channel, Member, Presence
from server.chat.ports import Directory, PresenceWishes
from server.chat.presence import SHOWN_MEMBERS, TRUSTED_SECONDS, Appearance
from server.chat.rules import direct_key
from server.core.db import locked
from server.core.fields import microseconds
from server.core.unit import Unit

KEPT_SECONDS = 60
"""How long it stays written that somebody has gone."""
RESIGNED_SECONDS = 10
"""A process that ends vouches for its users for so long: they are on their way to another one."""
_GONE = 0
_TRUSTED = timedelta(seconds=TRUSTED_SECONDS)


@dataclass(frozen=True, slots=True)
class PresenceDoors:
    """The doors to what others know of users."""

    directory: Directory
    wishes: PresenceWishes


class Seen(NamedTuple):
    """How somebody looks to a caller."""

    user_id: str
    online: bool
    last_online: datetime | None


class Update(NamedTuple):
    """What came of writing arrivals and departures down."""

    stored: list[str]
    """Those who are written down now."""
    appearances: list[Appearance]


def update_presence(
    unit: Unit,
    doors: PresenceDoors,
    process_id: str,
    arrived: Sequence[str],
    departed: Sequence[str],
) -> Update:
    """Writes down who came to this process and who went, in a few statements however many they are."""
    concerned = {*arrived, *departed}
    before = online_among(unit, concerned)
    stored = sorted(doors.directory.active_users(unit, arrived)) if arrived else []
    if stored:
        _write(unit, process_id, stored)
    if departed:
        own = (Presence.process_id == process_id) & Presence.user_id.in_(sorted(departed))
        Presence.update(seen_at=_GONE, update_time=unit.now).where(own).execute()
        doors.directory.note_last_online(unit, departed, unit.now)
    after = online_among(unit, concerned)
    changed = {user_id: user_id in after for user_id in sorted(before ^ after)}
    return Update(stored, appearances(unit, doors, changed))


def _write(unit: Unit, process_id: str, user_ids: Sequence[str]) -> None:
    times = {"seen_at": unit.now, "create_time": unit.now, "update_time": unit.now}
    Presence.insert_many(
        [{"user_id": user_id, "process_id": process_id, **times} for user_id in user_ids]
    ).on_conflict(
        conflict_target=[Presence.user_id, Presence.process_id],
        update={Presence.seen_at: EXCLUDED.seen_at, Presence.update_time: EXCLUDED.update_time},
    ).execute()


def renew_presence(unit: Unit, process_id: str) -> int:
    """Says that all users of a process are still there; how many they are."""
    own = (Presence.process_id == process_id) & (Presence.seen_at > _GONE)
    return cast("int", Presence.update(seen_at=unit.now).where(own).execute())


def resign(unit: Unit, doors: PresenceDoors, process_id: str) -> None:
    """The process ends. Its users stay online for a moment, in which they come to another one."""
    own = (Presence.process_id == process_id) & (Presence.seen_at > _GONE)
    rows = Presence.select(Presence.user_id).where(own)
    user_ids = [row.user_id for row in rows]
    if user_ids:
        until = unit.now - _TRUSTED + timedelta(seconds=RESIGNED_SECONDS)
        Presence.update(seen_at=until).where(own).execute()
        doors.directory.note_last_online(unit, user_ids, unit.now)


def is_stale(unit: Unit) -> bool:
    """True when there are rows to sweep."""
    return bool(Presence.select().where(_dead(unit) | _done(unit)).exists())


def sweep_presence(unit: Unit, doors: PresenceDoors) -> list[Appearance]:
    """Strikes out the users of processes that have died, and forgets who went long ago."""
    Presence.delete().where(_done(unit)).execute()
    order = (Presence.user_id, Presence.process_id)
    rows = list(locked(Presence.select().where(_dead(unit)).order_by(*order)))
    if not rows:
        return []
    last: dict[datetime, set[str]] = {}
    for row in rows:
        last.setdefault(min(row.seen_at, unit.now), set()).add(row.user_id)
    users = sorted({row.user_id for row in rows})
    Presence.update(seen_at=_GONE, update_time=unit.now).where(
        Presence.user_id.in_(users) & _dead(unit)
    ).execute()
    for seen_at, user_ids in last.items():
        doors.directory.note_last_online(unit, user_ids, seen_at)
    still = online_among(unit, users)
    return appearances(unit, doors, {user_id: False for user_id in users if user_id not in still})


def recent_presence(
    unit: Unit, doors: PresenceDoors, seconds: int, is_news: Callable[[str, bool], bool]
) -> list[Appearance]:
    """Those who came or went lately and of whom that is news."""
    since = unit.now - timedelta(seconds=seconds)
    rows = Presence.select(Presence.user_id).where(Presence.update_time >= since).distinct()
    users = {row.user_id for row in rows}
    online = online_among(unit, users)
    news = {user: user in online for user in sorted(users) if is_news(user, user in online)}
    return appearances(unit, doors, news)


def online_among(unit: Unit, user_ids: Iterable[str]) -> set[str]:
    """Those of the users who are online."""
    ids = list(user_ids)
    if not ids:
        return set()
    rows = Presence.select(Presence.user_id).where(Presence.user_id.in_(ids) & _trusted(unit))
    return {row.user_id for row in rows}


def appearances(unit: Unit, doors: PresenceDoors, changed: dict[str, bool]) -> list[Appearance]:
    """What is told of those who have come online (true) or gone offline, and where. Of who hides it
    nothing is told."""
    shown = [user for user in changed if user not in doors.wishes.hides_presence(unit, changed)]
    if not shown:
        return []
    gone = [user_id for user_id in shown if not changed[user_id]]
    last = doors.directory.last_online(unit, gone) if gone else {}
    channels: dict[str, list[tuple[str, int]]] = {user_id: [] for user_id in shown}
    other = Member.alias("other")
    # Those of a large group are not counted to the last.
    counted = other.select(other.user_id).where(other.channel_id == Channel.id)
    counted = counted.limit(SHOWN_MEMBERS + 1).alias("counted")
    count = Member.select(fn.COUNT(counted.c.user_id)).from_(counted)
    rows = (
        Member.select(Member.user_id, Channel.id, Channel.epoch)
        .join(Channel, on=(Channel.id == Member.channel_id))
        .where(Member.user_id.in_(shown) & ~Channel.blocked & (count <= SHOWN_MEMBERS))
        .tuples()
    )
    for user_id, channel_id, epoch in cast("Any", rows):
        channels[user_id].append((channel_id, epoch))
    hidden_from = _all_blocked(shown)
    return [
        Appearance(
            user_id,
            changed[user_id],
            microseconds(last[user_id]) if user_id in last else None,
            channels[user_id],
            hidden_from.get(user_id, []),
        )
        for user_id in shown
    ]


def get_presence(
    unit: Unit, doors: PresenceDoors, user_id: str, asked: Sequence[str]
) -> list[Seen]:
    """How users look to somebody. Those of whom they may not know look as if they did not exist."""
    visible = _sharing(user_id, asked) - _blocked(user_id, asked)
    visible -= doors.wishes.hides_presence(unit, asked)
    if user_id in asked:
        visible.add(user_id)
    online = online_among(unit, visible)
    last = doors.directory.last_online(unit, visible - online)
    return [Seen(other, other in online, last.get(other)) for other in asked]


def _sharing(user_id: str, asked: Collection[str]) -> set[str]:
    """Those who share a channel with the user."""
    other = Member.alias("other")
    rows = (
        other.select(other.user_id)
        .join(Member, on=((Member.channel_id == other.channel_id) & (Member.user_id == user_id)))
        .where(other.user_id.in_(list(asked)))
        .distinct()
        .tuples()
    )
    return {row[0] for row in cast("Any", rows)}


def _blocked(user_id: str, asked: Collection[str]) -> set[str]:
    """Those whose direct channel with the user is closed to both."""
    keys = {direct_key(user_id, other): other for other in asked}
    rows = Channel.select(Channel.direct_key).where(
        (Channel.type == DIRECT) & Channel.direct_key.in_(list(keys)) & Channel.blocked
    )
    return {keys[str(row.direct_key)] for row in rows}


def _all_blocked(user_ids: Sequence[str]) -> dict[str, list[str]]:
    """For each of the users those whose direct channel with them is closed to both."""
    other = Member.alias("other")
    pair = (other.channel_id == Member.channel_id) & (other.user_id != Member.user_id)
    rows = (
        Member.select(Member.user_id, other.user_id)
        .join(Channel, on=(Channel.id == Member.channel_id))
        .join_from(Member, other, on=pair)
        .where(Member.user_id.in_(user_ids) & (Channel.type == DIRECT) & Channel.blocked)
        .tuples()
    )
    found: dict[str, list[str]] = {}
    for user_id, other_id in cast("Any", rows):
        found.setdefault(user_id, []).append(other_id)
    return found


def _trusted(unit: Unit) -> Any:
    return (Presence.seen_at >= unit.now - _TRUSTED) & (Presence.seen_at <= unit.now + _TRUSTED)


def _dead(unit: Unit) -> Any:
    """Rows that no process vouches for any more, or that a clock has written that was put back since."""
    written = Presence.seen_at > _GONE
    return written & (
        (Presence.seen_at < unit.now - _TRUSTED) | (Presence.seen_at > unit.now + _TRUSTED)
    )


def _done(unit: Unit) -> Any:
    kept = timedelta(seconds=KEPT_SECONDS)
    late = (Presence.update_time < unit.now - kept) | (Presence.update_time > unit.now + kept)
    return (Presence.seen_at == _GONE) & late
