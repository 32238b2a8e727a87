import threading
import time

import pytest

from laptime.training.data.prefetch import prefetched


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_prefetched_yields_everything_in_order():
    assert list(prefetched(lambda: range(100), 3)) == list(range(100))
    assert not prefetch_threads()


def test_prefetched_runs_ahead_but_no_further_than_its_depth():
    made = []

    def source():
        for i in range(50):
            made.append(i)
            yield i

    values = prefetched(source, 2)
    assert next(values) == 0
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.01)
    assert len(made) == 4  # one taken, two waiting, one in the producer's hand
    values.close()


def test_prefetched_raises_the_error_after_the_values_before_it():
    def source():
        yield 1
        raise KeyError("broken")

    values = prefetched(source)
    assert next(values) == 1
    with pytest.raises(KeyError, match="broken"):
        next(values)
    assert not prefetch_threads()


def test_closing_early_ends_the_thread_and_closes_the_source():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    values = prefetched(endless)
    next(values)
    assert prefetch_threads()
    values.close()
    assert closed.is_set()
    assert not prefetch_threads()


def test_an_unstarted_iterator_starts_no_thread():
    values = prefetched(lambda: range(3))
    values.close()
    assert not prefetch_threads()
