"""Events inside one process: what a committed unit has emitted reaches whoever subscribed."""

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

E = TypeVar("E")


class Events:
    """Subscriptions by the type of the event.

    Subscribers are called in the thread that committed, after the commit, in the order of their
    subscription. They must be quick, thread-safe, and harmless to lose: the database is the truth.
    """

    def __init__(self) -> None:
        self._subscribers: defaultdict[type[Any], list[Callable[[Any], object]]] = defaultdict(list)

    def subscribe(self, kind: type[E], subscriber: Callable[[E], object]) -> None:
        """Has ``subscriber`` called with every event of exactly this type. For start-up only."""
        self._subscribers[kind].append(subscriber)

    def publish(self, events: list[object]) -> None:
        """Calls the subscribers; the exception of one is logged and stops no other."""
        for event in events:
            for subscriber in self._subscribers.get(type(event), ()):
                try:
                    subscriber(event)
                except Exception:
                    logger.exception("a subscriber of %s failed", type(event).__name__)
