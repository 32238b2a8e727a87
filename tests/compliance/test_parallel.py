"""Side by side as one after the other: the same answers, errors and order; dead workers and interrupts end it cleanly."""

import multiprocessing
import os
import signal
import threading
import time

import pytest

from laptime.compliance import parallel
from laptime.compliance.parallel import WorkerDied, in_order, processes_worth
from laptime.compliance.result import judge_folder
from laptime.errors import UserError

WEIGHTS = [3, 1, 2, 5, 4]


def doubled(item):
    time.sleep(0.01 * (item % 3))
    return 2 * item


def refusing(item):
    if item == 3:
        raise UserError("three is too much", hint="take two")
    return item


def failing(item):
    return 1 // (item - 2)


def dying(item):
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def slow(item):
    time.sleep(30)


@pytest.mark.parametrize("processes", [1, 2, 8])
def test_answers_come_in_the_order_of_the_items(processes):
    told = []
    assert in_order(doubled, range(5), WEIGHTS, processes, told.append) == [0, 2, 4, 6, 8]
    assert told == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_for_the_user_arrives_as_it_was(processes):
    with pytest.raises(UserError, match="three is too much") as caught:
        in_order(refusing, range(5), WEIGHTS, processes)
    assert caught.value.hint == "take two"


def test_a_fault_of_a_worker_arrives_with_its_place():
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        in_order(failing, range(5), WEIGHTS, 2)


def test_a_worker_that_is_killed_is_told():
    with pytest.raises(WorkerDied, match="signal 9"):
        in_order(dying, range(5), WEIGHTS, 2)
    assert not multiprocessing.active_children()


def test_an_interrupt_ends_the_workers():
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()  # this second thread makes the workers spawned ones
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_order(slow, range(5), WEIGHTS, 2)
    timer.join()
    assert time.monotonic() - start < 10
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("sizes", "expected"), [
    ([(5, 1000)], 1), ([(5, 1000)] * 4, 1), ([(10, 100)] * 40, 4), ([(1, 100 * 2**20)] * 2, 2), ([(1000, 2**30)], 1)])
def test_processes_are_started_where_they_pay(monkeypatch, sizes, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    assert processes_worth(sizes) == expected


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.seconds
def test_a_round_is_judged_alike_by_one_and_by_many(tmp_path, make, monkeypatch, method):
    monkeypatch.setattr(parallel, "_context", lambda: multiprocessing.get_context(method))
    for number in range(4):
        make.result(tmp_path / f"acme/results/box{number}/resnet", "v4.0", make.set("v4.0", number + 2))
    told = []
    one = judge_folder(tmp_path, round_name="v4.0", processes=1)
    two = judge_folder(tmp_path, round_name="v4.0", processes=2, progress=lambda *count: told.append(count))
    assert one == two
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
