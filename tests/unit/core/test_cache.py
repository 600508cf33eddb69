"""Encoded replies: bounded, short-lived, and never put back after what they show has changed."""

from server.core.cache import EncodedCache
from server.core.clock import ManualClock


def test_a_value_read_before_a_change_is_not_kept() -> None:
    cache = EncodedCache(ManualClock())
    mark = cache.begin()
    cache.drop("a")
    cache.put("a", b"old", mark)
    assert cache.get("a") is None
    cache.put("a", b"new", cache.begin())
    assert cache.get("a") == b"new"
    mark = cache.begin()
    cache.clear()
    cache.put("b", b"old", mark)
    assert cache.get("a") is None and cache.get("b") is None


def test_marks_outlive_the_memory_of_drops() -> None:
    cache = EncodedCache(ManualClock(), size=2)
    mark = cache.begin()
    for key in "abc":
        cache.drop(key)
    cache.put("a", b"old", mark)
    assert cache.get("a") is None


def test_size_and_time() -> None:
    clock = ManualClock()
    cache = EncodedCache(clock, size=2, seconds=60)
    for key in "abc":
        cache.put(key, key.encode(), cache.begin())
    assert [cache.get(key) for key in "abc"] == [None, b"b", b"c"]
    clock.advance(61)
    assert cache.get("c") is None
