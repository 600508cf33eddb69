"""The writer lock: one holder, in turn, with a bounded wait."""

import threading

import pytest

from server.core.writer_lock import PoolBusy, WriterLock


def test_it_has_one_holder_and_nobody_starves() -> None:
    lock = WriterLock(30)
    held, turns, counts = 0, 0, [0] * 6

    def work(index: int) -> None:
        nonlocal held, turns
        while turns < 3000:
            with lock:
                held += 1
                assert held == 1
                turns += 1
                counts[index] += 1
                held -= 1

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(counts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held == 0
    assert sum(counts) == turns
    assert lock.acquire(0)


def test_whoever_waits_longest_is_next() -> None:
    lock = WriterLock(30)
    order: list[int] = []
    assert lock.acquire(0)
    threads = []
    for index in range(4):
        thread = threading.Thread(target=lambda index=index: _note(lock, order, index))
        thread.start()
        while len(lock._waiting) <= index:
            pass
        threads.append(thread)
    lock.release()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3]


def _note(lock: WriterLock, order: list[int], index: int) -> None:
    with lock:
        order.append(index)


def test_the_wait_is_bounded_and_leaves_no_trace() -> None:
    lock = WriterLock(0.01)
    assert lock.acquire(0)
    assert not lock.acquire(0.01)
    with pytest.raises(PoolBusy), lock:
        pass
    lock.release()
    with lock:
        pass
    assert lock.acquire(0)


def test_giving_up_and_handing_over_at_once_never_loses_the_lock() -> None:
    lock = WriterLock(30)
    taken = [0] * 4

    def hurry(index: int) -> None:
        for _ in range(400):
            if lock.acquire(0.00005):
                taken[index] += 1
                lock.release()

    threads = [threading.Thread(target=hurry, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) > 0
    assert lock.acquire(0)
