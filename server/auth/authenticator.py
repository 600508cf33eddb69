"""Turns access tokens and keys into callers, and forgets them the moment they are no longer good.

A token is verified and its session, roles and permissions are read when it is first seen; a key of
a service likewise, where the key stands for its session. After that one look into a dictionary
answers, until the token expires, its session or key ends, or the user's rights change. These arrive
as events of this process, over the bus from others, and by a look into the database twice a second,
which also heals a lost message.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import orjson

from server.auth.events import ApiKeyRevoked, PrivilegeChanged, RightsChanged, SessionRevoked
from server.auth.models import Session, User
from server.auth.rules import is_api_key, may_act, may_come_back, session_open
from server.auth.tokens import AccessClaims, AccessTokens, KeyUnknown
from server.auth.usecases.api_keys import SERVICE, service_of, touch_api_keys
from server.auth.usecases.users import rights_of
from server.core.bus import Bus
from server.core.caller import Caller
from server.core.clock import Clock
from server.core.db import Database, sql
from server.core.errors import CredentialsInvalid
from server.core.fields import instant, microseconds
from server.core.unit import Unit

TOPIC = "auth.sessions"
"""Bus topic on which processes tell each other which sessions and rights are void."""

MOST_TOKENS = 20_000
"""Verified tokens that are remembered; over it the oldest goes and is verified anew when it
comes."""

LOOK_SECONDS = 0.5
"""How often the database is asked what has ended."""

LOOK_BACK = timedelta(seconds=15)
"""How far back each look goes: a unit that began this long ago may have committed only now."""

ACTIVITY_SECONDS = 60.0
"""How often it is written when sessions, users and keys were last used, a few statements for all of
them."""

_TRIES = 3

_PRIVILEGE = "privilege:"
"""Stands before the id of a session that was raised or lowered, among those that ended."""

_CHANGED_SINCE = f"""
SELECT user_id, id, revoked_at FROM sessions WHERE revoked_at > ?
UNION ALL SELECT user_id, id, revoked_at FROM api_keys WHERE revoked_at > ?
UNION ALL SELECT id, '', update_time FROM users WHERE update_time > ?
UNION ALL SELECT user_id, '{_PRIVILEGE}' || id, privilege_changed_at FROM sessions
    WHERE privilege_changed_at > ?
"""  # noqa: S608


@dataclass(slots=True)
class _Sessions:
    """What is remembered of one user."""

    tokens: dict[str, list[str]] = field(default_factory=dict)


class SessionAuthenticator:
    """The wire's ``Authenticator``. ``authenticate_cached`` and ``authenticate`` belong to the
    loop's thread; ends may be told from any thread."""

    def __init__(self, tokens: AccessTokens, database: Database, clock: Clock, bus: Bus) -> None:
        self._tokens = tokens
        self._database = database
        self._clock = clock
        self._bus = bus
        self._lock = threading.Lock()
        self._callers: dict[str, Caller] = {}
        self._users: dict[str, _Sessions] = {}
        self._changes = 0
        self._seen: dict[str, bool] = {}
        """Sessions and keys used since that was written last; true for a key."""
        self._listeners: list[Callable[[str], None]] = []
        self._user_listeners: list[Callable[[str], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._known_ends: dict[tuple[str, str], datetime] = {}
        self.look_for_keys: Callable[[], Awaitable[object]] | None = None
        """Finds keys that were added since; set where they lie in a folder."""

    def authenticate_cached(self, token: str) -> Caller | None:
        """The caller of a token that was verified before and is still good; ``None`` otherwise."""
        caller = self._callers.get(token)
        if caller is None:
            return None
        if caller.expiry <= self._clock.timestamp():
            self._forget_token(token, caller)
            return None
        self._seen[caller.session_id] = caller.kind == SERVICE
        return caller

    async def authenticate(self, token: str) -> Caller:
        """Verifies a token against the keys and its session, or a service's key against its row;
        ``CredentialsInvalid`` when it is not, or no longer, good."""
        caller = None
        for _ in range(_TRIES):
            before = self._changes
            find = await self._finder(token)
            caller = await self._database.run(find, write=False)
            if self._remember(token, caller, before):
                break
            # Something ended while the rows were read: they may be older than that, and so may the
            # signing key be.
        assert caller is not None
        self._seen[caller.session_id] = caller.kind == SERVICE
        return caller

    def saw(self, session_id: str) -> None:
        """Notes that a session was used whose token is no bearer; from any thread."""
        self._seen[session_id] = False

    async def _finder(self, token: str) -> Callable[[Unit], Caller]:
        if is_api_key(token):
            return lambda unit: service_of(unit, token)
        claims = await self._verified(token)
        return lambda unit: caller_of(unit, claims)

    async def _verified(self, token: str) -> AccessClaims:
        """What a token says; before one of an unknown key is refused, a look is taken whether the
        key is a new one."""
        try:
            return self._tokens.verify(token)
        except KeyUnknown:
            if self.look_for_keys is None:
                raise
            await self.look_for_keys()
            return self._tokens.verify(token)

    def on_revoked(self, listener: Callable[[str], None]) -> None:
        """Calls ``listener(session_id)`` on the loop's thread when a session or its rights end."""
        self._listeners.append(listener)

    def on_user_changed(self, listener: Callable[[str], None]) -> None:
        """Calls ``listener(user_id)`` on the loop's thread when a look finds that a user
        changed."""
        self._user_listeners.append(listener)

    def start(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        """Begins to listen to the other processes; returns what ends that."""
        self._loop = loop
        return self._bus.subscribe(TOPIC, self._on_message)

    def on_session_revoked(self, event: SessionRevoked) -> None:
        """Subscriber of the event; in any thread, after the commit."""
        self._end(event.user_id, [event.session_id], whole=False)

    def on_api_key_revoked(self, event: ApiKeyRevoked) -> None:
        """Subscriber of the event; in any thread, after the commit."""
        self._end(event.user_id, [event.api_key_id], whole=False)

    def on_rights_changed(self, event: RightsChanged) -> None:
        """Subscriber of the event; in any thread, after the commit."""
        self._end(event.user_id, list(event.session_ids), whole=True)

    def on_privilege_changed(self, event: PrivilegeChanged) -> None:
        """Subscriber of the event; in any thread, after the commit. The session goes on with its
        streams: only what is remembered of its callers is void."""
        self._forget(event.user_id, event.session_id)
        if self._bus.is_shared:
            self._bus.publish(TOPIC, orjson.dumps([event.user_id, [event.session_id], None]))

    def forget_signed_by(self, kids: frozenset[str]) -> None:
        """Forgets every token that one of these keys has signed; on the loop's thread."""
        with self._lock:
            self._changes += 1
        signed = [item for item in list(self._callers.items()) if item[1].signed_by in kids]
        for token, caller in signed:
            self._forget_token(token, caller)

    async def look(self) -> None:
        """Asks the database which sessions and users of ours changed lately."""
        now = self._clock.now()
        ends = await self._database.run(lambda unit: _changed_since(now - LOOK_BACK), write=False)
        for (user_id, session_id), moment in ends.items():
            if self._known_ends.get((user_id, session_id)) == moment:
                continue
            if session_id.startswith(_PRIVILEGE):
                self._forget(user_id, session_id.removeprefix(_PRIVILEGE))
            elif session_id:
                self._apply(user_id, [session_id], whole=False)
            else:
                self._forget(user_id, None)
                for listener in self._user_listeners:
                    listener(user_id)
        self._known_ends = ends

    async def write_activity(self) -> None:
        """Writes when the sessions and keys seen since the last time were used, to the minute."""
        used, self._seen = self._seen, {}
        # Another thread may still hold the old ones.
        marks = list(used.items())
        seen = [session_id for session_id, is_key in marks if not is_key]
        keys = [key_id for key_id, is_key in marks if is_key]
        minute = self._clock.now().replace(second=0, microsecond=0)
        # A unit each: sessions and users are never locked in this order elsewhere.
        for work, found in ((_touch, seen), (_touch_users, seen), (touch_api_keys, keys)):
            ids = sorted(found)
            for start in range(0, len(ids), 500):
                touch = partial(work, ids=ids[start : start + 500], minute=minute)
                await self._database.run(touch, write=True)

    def _end(self, user_id: str, session_ids: list[str], *, whole: bool) -> None:
        self._apply(user_id, session_ids, whole=whole)
        if self._bus.is_shared:
            self._bus.publish(TOPIC, orjson.dumps([user_id, session_ids, whole]))

    def _on_message(self, payload: bytes) -> None:
        user_id, session_ids, whole = orjson.loads(payload)
        if whole is None:
            for session_id in session_ids:
                self._forget(user_id, session_id)
            return
        self._apply(user_id, session_ids, whole=whole)

    def _apply(self, user_id: str, session_ids: list[str], *, whole: bool) -> None:
        """Forgets the sessions, or all that is known of the user, and tells the listeners."""
        for session_id in [None] if whole else session_ids:
            self._forget(user_id, session_id)
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        for session_id in session_ids:
            for listener in self._listeners:
                loop.call_soon_threadsafe(listener, session_id)

    def _remember(self, token: str, caller: Caller, before: int) -> bool:
        """Keeps the caller unless something ended since ``before``; True when it was kept."""
        with self._lock:
            if self._changes != before:
                return False
            if token not in self._callers:
                sessions = self._users.setdefault(caller.user_id, _Sessions())
                sessions.tokens.setdefault(caller.session_id, []).append(token)
            self._callers[token] = caller
            oldest = next(iter(self._callers.items()))
        if len(self._callers) > MOST_TOKENS:
            self._forget_token(*oldest)
        return True

    def _forget_token(self, token: str, caller: Caller) -> None:
        with self._lock:
            if self._callers.pop(token, None) is None:
                return
            sessions = self._users[caller.user_id]
            sessions.tokens[caller.session_id].remove(token)
            if not sessions.tokens[caller.session_id]:
                del sessions.tokens[caller.session_id]
            if not sessions.tokens:
                del self._users[caller.user_id]

    def _forget(self, user_id: str, session_id: str | None) -> None:
        """Forgets the tokens of a session, or of all sessions of a user when it is ``None``."""
        with self._lock:
            self._changes += 1
            sessions = self._users.get(user_id)
            if sessions is None:
                return
            ended = list(sessions.tokens) if session_id is None else [session_id]
            for ended_id in ended:
                for token in sessions.tokens.pop(ended_id, ()):
                    del self._callers[token]
            if not sessions.tokens:
                del self._users[user_id]


def caller_of(unit: Unit, claims: AccessClaims) -> Caller:
    """Who a verified token stands for now; ``CredentialsInvalid`` when its session has ended, its
    version is old, or the account is not in use."""
    session = Session.get_or_none(
        (Session.id == claims.session_id) & (Session.user == claims.user_id)
    )
    user = User.get_or_none(User.id == claims.user_id)
    deleted = user is not None and may_come_back(
        user.status,
        user_id=user.id,
        deleted_by=user.deleted_by,
        purge_at=user.purge_at,
        now=unit.now,
    )
    if (
        session is None
        or user is None
        or session.token_version != claims.version
        or not (deleted or may_act(user.status, user.suspended_until, unit.now))
        or not session_open(
            is_revoked=session.is_revoked,
            expires_at=session.expires_at,
            absolute_expires_at=session.absolute_expires_at,
            now=unit.now,
        )
    ):
        raise CredentialsInvalid
    roles, permissions = (set(), set()) if deleted else rights_of(user.id)
    return Caller(
        kind="user",
        user_id=user.id,
        session_id=session.id,
        roles=frozenset(roles),
        permissions=frozenset(permissions),
        privileged_until=session.privileged_until,
        expires=claims.expires,
        deleted=deleted,
        signed_by=claims.signed_by,
    )


def _changed_since(since: datetime) -> dict[tuple[str, str], datetime]:
    """Sessions and keys that ended, sessions that were raised or lowered (behind ``_PRIVILEGE``),
    users that changed (with an empty session id), and when."""
    rows = sql(_CHANGED_SINCE, *[microseconds(since)] * 4).fetchall()
    return {(user_id, name): instant(stamp) for user_id, name, stamp in rows}


def _touch(_unit: Unit, ids: list[str], minute: datetime) -> None:
    Session.update(last_active_at=minute).where(
        Session.id.in_(ids) & (Session.last_active_at < minute)
    ).execute()


def _touch_users(_unit: Unit, ids: list[str], minute: datetime) -> None:
    """No ``update_time``: being seen is no change that others would have to hear of."""
    seen = Session.select(Session.user).where(Session.id.in_(ids))
    User.update(last_online_at=minute).where(
        User.id.in_(seen) & (User.last_online_at.is_null() | (User.last_online_at < minute))
    ).execute()
