"""User CPU seconds of processes."""

import sys

from laptime.bench import overhead, start
from laptime.bench.subject import subjects


def test_only_the_child_is_counted():
    busy, code = start.user_seconds((sys.executable, "-c", "sum(range(5_000_000))"))
    idle, _ = start.user_seconds((sys.executable, "-c", "import time; time.sleep(0.2)"))
    assert code == 0
    assert busy > idle


def test_command_that_fails_is_not_a_measurement():
    row = start._row("bad", (sys.executable, "-c", "raise SystemExit(7)"), 1, start.BUDGET)
    assert row.value is None
    assert "7" in row.note


def test_commands_are_measured_against_the_budget(tmp_path):
    overhead.played_run(subjects(("resnet",))[0], tmp_path)
    rows = start.measure("resnet", tmp_path / "result_0.txt", repeats=1)
    assert [row.what for row in rows][1:] == ["laptime --help", "laptime list", "laptime show resnet", "laptime check ONE_LOG"]
    assert all(row.value is not None and row.budget == "<= 0.3" for row in rows[1:])
