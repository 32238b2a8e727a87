"""What is shown while runs go on: plain lines outside a terminal, a live line inside."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from laptime.cli.run import answer, text
from laptime.cli.watch import Live, Plain, ending_line, evaluation_line, live_line
from laptime.harness.progress import RunEvent
from laptime.harness.runset import RunOutcome, SetOutcome

EVALUATED = RunEvent("evaluated", "", 65.0, 4096, 4, 2150.4, {"eval_accuracy": 0.5125}, "eval_accuracy >= 0.75", 40.0)
PROGRESS = RunEvent("progress", "", 66.0, 4160, 4, 2150.4, {}, "eval_accuracy >= 0.75", None)
CONVERGED = RunOutcome(0, "converged", 91.2, Path("x/result_0.txt"), "")
FAILED = RunOutcome(1, "failed", None, None, "the worker process was killed by SIGKILL (out of memory?)")


def test_evaluation_line_has_time_metric_target_rate_and_time_left():
    assert evaluation_line(EVALUATED) == ("     1:05  epoch   4  eval_accuracy 0.5125 (target eval_accuracy >= 0.75)"
                                          "  2,150 samples/s  about 0:40 left")


def test_live_line_of_progress_has_no_metric_and_no_guess():
    assert live_line(PROGRESS) == "1:06  epoch 4  2,150 samples/s  target eval_accuracy >= 0.75"


def test_live_line_of_a_phase_is_its_name():
    assert live_line(RunEvent("phase", "warm_up")) == "warm_up"


@pytest.mark.parametrize(("outcome", "expected"), [
    (CONVERGED, "run 1 converged after 1.52 min"),
    (FAILED, "run 2 failed: the worker process was killed by SIGKILL (out of memory?)")])
def test_ending_line_says_how_and_why(outcome, expected):
    assert ending_line(outcome) == expected


def test_plain_watcher_is_silent_between_evaluations():
    stream = io.StringIO()
    with Plain(stream) as watcher:
        watcher.message("making data")
        watcher.run_started(0, 5, 77)
        watcher.event(0, PROGRESS)
        watcher.event(0, RunEvent("epoch", epoch=1))
        watcher.event(0, EVALUATED)
        watcher.run_ended(CONVERGED)
    assert stream.getvalue().splitlines() == [
        "making data", "run 1 of 5, seed 77", evaluation_line(EVALUATED), "run 1 converged after 1.52 min"]


def test_live_watcher_prints_the_same_lines_and_a_status_between():
    stream = io.StringIO()
    watcher = Live()
    watcher._console = Console(file=stream, force_terminal=True, width=100, color_system=None, highlight=False)
    with watcher:
        watcher.event(0, PROGRESS)
        watcher.event(0, EVALUATED)
        watcher.run_ended(CONVERGED)
    shown = stream.getvalue()
    assert "target eval_accuracy >= 0.75" in shown
    assert evaluation_line(EVALUATED) in shown
    assert "run 1 converged after 1.52 min" in shown


def test_summary_of_a_set_is_a_table_and_the_next_commands():
    shown = text(SetOutcome(Path("runs/x"), (CONVERGED,), 0, "1 of 1 runs reached the target"), 100)
    assert [line.split() for line in shown.splitlines()][1] == ["1", "converged", "1.52", "result_0.txt"]
    assert "laptime check runs/x" in shown


def test_summary_in_json_holds_every_run():
    found = answer(SetOutcome(Path("runs/x"), (CONVERGED, FAILED), 4, "a message"))
    assert found["exit_code"] == 4
    assert [run["status"] for run in found["runs"]] == ["converged", "failed"]  # type: ignore[attr-defined]
