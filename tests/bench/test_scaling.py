"""Several processes beside one: rows of real groups, whose rates follow from their times, and members that fail."""

import json
import subprocess
import sys
from dataclasses import asdict
from unittest.mock import Mock

import pytest
import torch

from laptime.bench import scaling
from laptime.bench.member import Case
from laptime.bench.scaling import Group
from laptime.bench.subject import subjects
from laptime.config import SuitePath
from laptime.errors import UserError
from laptime.training.distributed.world import World

ALONE = World(0, 1, torch.device("cpu"))
CASE = Case("resnet", "mini", "cpu", 1)


@pytest.mark.seconds
def test_two_processes_are_measured_beside_one():
    told = []
    one, two, ratio = scaling.measure(subjects(("resnet",))[0], ALONE, SuitePath(), scaling.QUICK, processes=2, threads=1, tell=told.append)
    assert told == ["resnet mini with 1 and 2 processes"]
    assert (one.details["processes"], two.details["processes"]) == (1, 2)
    assert one.value > 0
    assert ratio.value == pytest.approx(two.value / one.value)
    assert one.value == pytest.approx(1000 * one.details["batch"] / one.details["step_ms"])


class Played:
    """Groups whose steps take known times: 1 s alone, 0.25 s together."""

    def __init__(self, case, size):
        self.seconds = 1.0 if size == 1 else 0.25
        self.asked = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def step(self, calls):
        self.asked.append(calls)
        return self.seconds


def test_ratio_is_how_many_times_faster_the_group_is(monkeypatch):
    monkeypatch.setattr(scaling, "Group", Played)
    rows = list(scaling._rows(CASE, "case", 8, 4, scaling.Effort(3, 0.5, None, None)))
    assert [(row.what, row.value) for row in rows] == [("case: 1 process", pytest.approx(8)), ("case: 4 processes", pytest.approx(32)),
                                                       ("case: 4 processes beside one", pytest.approx(4))]
    assert rows[2].details == {"pairs": 3, "calls": [1, 2]}
    assert (rows[2].low, rows[2].high) == (pytest.approx(4), pytest.approx(4))


def test_member_that_cannot_train_is_named_and_none_stays(monkeypatch):
    group = Group(Case("no such benchmark", "mini", "cpu", 1), 2)
    with pytest.raises(UserError, match=r"process 0: .*no such benchmark.*; process 1: .*no such benchmark") as error:
        group.__enter__()
    assert all(member.poll() is not None for member in group._members)
    monkeypatch.setattr(Group, "__enter__", Mock(side_effect=error.value))  # the same once more, without the processes
    [row] = scaling._rows(Case("no such benchmark", "mini", "cpu", 1), "case", 8, 2, scaling.QUICK)
    assert row.value is None
    assert "no such benchmark" in row.note


def test_member_that_ends_without_an_answer_is_said(monkeypatch):
    start = subprocess.Popen
    monkeypatch.setattr(scaling.subprocess, "Popen", lambda words, **more: start([sys.executable, "-c", "raise SystemExit(3)"], **more))
    with pytest.raises(UserError, match="process 0: ended with code 3"):
        Group(CASE, 1).__enter__()


def test_case_travels_as_json():
    assert Case(**json.loads(json.dumps(asdict(CASE)))) == CASE
