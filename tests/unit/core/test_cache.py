"""The cache of encoded replies: bounded, of limited age, and never older than the last change."""

import pytest

from server.core.cache import EncodedCache, VersionedCache
from server.core.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cache(clock: ManualClock) -> EncodedCache:
    return EncodedCache(clock, size=3, seconds=60)


def fill(cache: EncodedCache, *keys: str) -> None:
    for key in keys:
        cache.put(key, key.encode(), cache.begin())


def test_a_value_is_kept_for_its_time_and_no_longer(
    cache: EncodedCache, clock: ManualClock
) -> None:
    assert cache.get("a") is None
    fill(cache, "a")
    clock.advance(59.9)
    assert cache.get("a") == b"a"
    clock.advance(0.1)
    assert cache.get("a") is None


def test_putting_again_renews_the_value_and_its_time(
    cache: EncodedCache, clock: ManualClock
) -> None:
    fill(cache, "a")
    clock.advance(40)
    cache.put("a", b"new", cache.begin())
    clock.advance(40)
    assert cache.get("a") == b"new"


def test_the_longest_unused_gives_way(cache: EncodedCache) -> None:
    fill(cache, "a", "b", "c")
    assert cache.get("a") == b"a"
    fill(cache, "d")
    assert [key for key in "abcd" if cache.get(key) is not None] == ["a", "c", "d"]


def test_what_was_read_before_a_drop_is_not_kept(cache: EncodedCache) -> None:
    mark = cache.begin()
    cache.drop("a")
    cache.put("a", b"stale", mark)
    assert cache.get("a") is None
    cache.put("b", b"b", mark)
    assert cache.get("b") == b"b", "another key is not concerned"
    cache.put("a", b"fresh", cache.begin())
    assert cache.get("a") == b"fresh"
    cache.drop("a")
    assert cache.get("a") is None


def test_a_drop_that_is_forgotten_still_holds(cache: EncodedCache) -> None:
    mark = cache.begin()
    for key in "abcdef":
        cache.drop(key)
    fill(cache, "z")
    for key in "abcdef":
        cache.put(key, b"stale", mark)
    assert [key for key in "abcdefz" if cache.get(key) is not None] == ["z"]
    fill(cache, "a")
    assert cache.get("a") == b"a"


def test_clear_forgets_everything_and_what_is_being_read(cache: EncodedCache) -> None:
    fill(cache, "a")
    mark = cache.begin()
    cache.clear()
    cache.put("b", b"stale", mark)
    assert cache.get("a") is None
    assert cache.get("b") is None
    fill(cache, "b")
    assert cache.get("b") == b"b"


def test_the_least_used_make_room() -> None:
    cache: VersionedCache[str] = VersionedCache(10)
    cache.put(("a", 1), "one", 4)
    cache.put(("b", 1), "two", 4)
    assert cache.get(("a", 1)) == "one"
    cache.put(("c", 1), "three", 4)
    assert [cache.get((name, 1)) for name in "abc"] == ["one", None, "three"]
    assert cache.get(("a", 2)) is None, "another version is another value"


def test_a_value_that_is_put_again_counts_once() -> None:
    cache: VersionedCache[str] = VersionedCache(10)
    for _ in range(5):
        cache.put("a", "one", 4)
    cache.put("b", "two", 6)
    assert (cache.get("a"), cache.get("b")) == ("one", "two")


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    cache: VersionedCache[str] = VersionedCache(10)
    cache.put("a", "one", 11)
    assert cache.get("a") is None
    cache.put("b", "two", 10)
    assert cache.get("b") == "two"
