"""Turns, blocks and time limits, with a clock that the steps themselves move."""

import threading
import time

import pytest

from laptime.bench.pairs import OutOfTime, at_most, calls_for, interleaved, timed


class Clock:
    """Moves only when something is done."""

    def __init__(self):
        self.now, self.done = 0.0, []

    def step(self, name, seconds):
        def act():
            self.done.append(name)
            self.now += seconds

        return act

    def __call__(self):
        return self.now


def test_turns_alternate_within_pairs():
    clock = Clock()
    found = interleaved(clock.step("a", 2.0), clock.step("b", 3.0), 3, timer=clock)
    assert "".join(clock.done) == "abbaab"
    assert (found.first, found.second) == ([2.0] * 3, [3.0] * 3)


def test_steady_drift_cancels_over_two_pairs():
    clock = Clock()

    def drifting():
        clock.now += 1.0 + clock.now

    found = interleaved(drifting, drifting, 2, timer=clock)
    assert found.first[0] < found.second[0]
    assert found.first[1] > found.second[1]


def test_time_is_per_call():
    clock = Clock()
    assert interleaved(clock.step("a", 2.0), clock.step("b", 3.0), 1, calls=(4, 2), timer=clock).first == [2.0]
    assert clock.done == ["a"] * 4 + ["b"] * 2


def test_work_queued_on_the_device_is_waited_for_and_earlier_work_is_not_counted():
    clock = Clock()
    waiting = [5.0]

    def launch():
        waiting.append(2.0)

    def synchronise():
        while waiting:
            clock.now += waiting.pop()

    assert timed(launch, 3, synchronise, clock) == 2.0


@pytest.mark.parametrize(("seconds", "block", "calls"), [(0.1, 0.5, 6), (2.0, 0.5, 1), (0.1, 0.0, 1)])
def test_blocks_last_at_least_as_long_as_asked(seconds, block, calls):
    assert calls_for(seconds, block) == calls
    assert calls_for(seconds, block) * seconds >= block


def test_time_limit_ends_what_takes_longer():
    with pytest.raises(OutOfTime), at_most(0.02):
        time.sleep(5)


def test_time_limit_is_over_with_its_block():
    with at_most(0.02):
        pass
    time.sleep(0.03)


def test_time_limit_outside_the_main_thread_does_nothing():
    ended = []

    def work():
        with at_most(0.001):
            time.sleep(0.01)
        ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended
