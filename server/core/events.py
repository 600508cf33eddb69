"""Events inside one process: what a unit emits reaches whoever takes part in it, and, once it is committed,
whoever subscribed."""

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from server.core.unit import Unit

logger = logging.getLogger(__name__)

E = TypeVar("E")


class Events:
    """Subscriptions by the type of the event.

    Subscribers are called in the thread that committed, after the commit, in the order of their
    subscription. They must be quick, thread-safe, and harmless to lose: the database is the truth.
    """

    def __init__(self) -> None:
        self._subscribers: defaultdict[type[Any], list[Callable[[Any], object]]] = defaultdict(list)
        self._participants: defaultdict[type[Any], list[Callable[[Unit, Any], object]]]
        self._participants = defaultdict(list)

    def subscribe(self, kind: type[E], subscriber: Callable[[E], object]) -> None:
        """Has ``subscriber`` called with every event of exactly this type. For start-up only."""
        self._subscribers[kind].append(subscriber)

    def join(self, kind: type[E], participant: Callable[["Unit", E], object]) -> None:
        """Has ``participant`` called inside the unit that emits such an event, when it does: what it does
        is committed with the unit or not at all, and its exception is that of the unit. For start-up only."""
        self._participants[kind].append(participant)

    def take_part(self, unit: "Unit", event: object) -> None:
        """Calls the participants."""
        for participant in self._participants.get(type(event), ()):
            participant(unit, event)

    def publish(self, events: list[object]) -> None:
        """Calls the subscribers; the exception of one is logged and stops no other."""
        for event in events:
            for subscriber in self._subscribers.get(type(event), ()):
                try:
                    subscriber(event)
                except Exception:
                    logger.exception("a subscriber of %s failed", type(event).__name__)
