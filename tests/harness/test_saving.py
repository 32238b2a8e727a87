"""Saving a run and going on with it, in this process: what a state is, what a generation is, what the log then says."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from harness_runs import ListSink, Quiet, request_of

from laptime.cli.run import command as run_command
from laptime.compliance.result import judge_log
from laptime.config import RunRequest
from laptime.errors import InvalidConfiguration, RunFailed
from laptime.events import At, Cadence, Checkpoint, Epoch, Evaluated, Evaluating, Plan, Point, Progress, Sizes
from laptime.harness import generations, saving, worker
from laptime.harness.clock import Clock
from laptime.harness.generations import Interruption, Memory, Position, clear, identity, refuse_foreign, summary, whole
from laptime.harness.journal import Journal
from laptime.harness.one_run import Job, Run
from laptime.harness.preflight import resolve
from laptime.harness.preparation import data_folder, prepare
from laptime.harness.progress import Begun, Meter
from laptime.harness.saving import whole_state
from laptime.harness.set_folder import SetFolder
from laptime.log.read import read_log
from laptime.rules.load import load_round
from laptime.suite import folders, load
from laptime.training.data.store import Store
from laptime.training.distributed.checkpoint import Saver
from laptime.training.distributed.world import World

ALONE = World(0, 1, torch.device("cpu"))
ALWAYS = 1e-6  # seconds
SEED = 12345


def can_mount():
    return subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False).returncode == 0


class AtOnce(Saver):
    """Everything is on disk before training goes on, and nothing is dropped."""

    def __init__(self, world, folder, **more):
        super().__init__(world, folder, keep=1000, **more)

    def save(self, state, step):
        path = super().save(state, step)
        self.finish()
        return path


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(saving, "Saver", AtOnce)


def attempt(folder, request, begin=None):
    """(run, its outcome or the error that ended it): the first attempt, or one that goes on from `begin`."""
    prepare(request, Quiet())
    flight, log = resolve(request), folder / "log.txt"
    folder.mkdir(exist_ok=True)
    if begin is not None:
        log.write_bytes(begin.log())
    saves = folder / "saved" if request.save_every_s or begin else None
    job = Job(request, 0, SEED, log, folder / "record.json", folder / "saved" / "scratch", saves=saves,
              resume_step=begin and begin.step)
    store, told = Store.open(data_folder(flight)), []
    made = worker._saves(job, flight, ALONE, store)
    if made is not None:
        made._warn = told.append
    with worker._sink(job, flight, ALONE) as sink:
        run = Run(job, flight, ALONE, store, sink=sink, emit=lambda event: None, saves=made)
        run.told = told
        try:
            return run, run.execute()
        except Exception as error:
            return run, error


def lines(path):
    """What a log says, without when."""
    return [(record.key, record.value, {**record.metadata, "lineno": 0}) for record in read_log(path).records]


def without_resumption(found):
    return [one for one in found if one[0] != "laptime_resumed"]


def standin(folder, *overrides, **more):
    return request_of(folder, "limit_epochs=4", "reaches_at=4", *overrides, **{"save_every_s": ALWAYS, "threads": 1, **more})


def test_run_goes_on_from_each_of_its_states_as_if_it_had_not_stopped(tmp_path, at_once):
    whole_run, outcome = attempt(tmp_path / "a", standin(tmp_path))
    assert outcome.status == "converged"
    wanted, states = lines(tmp_path / "a" / "log.txt"), whole(tmp_path / "a" / "saved")
    assert [one.step for one in states] == [1, 2, 3, 4, 5, 6, 7]
    for begin in states:
        run, outcome = attempt(tmp_path / "a", standin(tmp_path, save_every_s=0.0), begin)
        assert outcome.status == "converged"
        found = lines(tmp_path / "a" / "log.txt")
        assert without_resumption(found) == wanted
        assert len(found) == len(wanted) + 1
        log = read_log(tmp_path / "a" / "log.txt")
        times = [record.time_ms for record in log.records]
        assert times == sorted(times)
        assert outcome.seconds == (times[-1] - next(r.time_ms for r in log.records if r.key == "run_start")) / 1000
        assert [one["metrics"] for one in run.account.evaluations] == [one["metrics"] for one in whole_run.account.evaluations]


def test_run_that_was_resumed_says_so_and_is_one_that_check_accepts(tmp_path, at_once):
    suite = request_of(tmp_path).suite
    run, error = attempt(tmp_path / "a", standin(tmp_path, "behaviour=crash", "once=true"))
    assert "exploded" in str(error)
    assert [record.metadata["status"] for record in read_log(tmp_path / "a" / "log.txt").records if record.key == "run_stop"] == ["aborted"]
    for attempts in (1, 2):
        run, outcome = attempt(tmp_path / "a", standin(tmp_path, "behaviour=crash", "once=true"), whole(tmp_path / "a" / "saved")[-1])
        assert outcome.status == "converged"
        said = [record for record in read_log(tmp_path / "a" / "log.txt").records if record.key == "laptime_resumed"]
        assert said[-1].value == attempts
        assert set(said[-1].metadata) == {"file", "lineno", "samples", "away_seconds", "repeated_seconds"}
    assert len(run.account.facts["interruptions"]) == 2
    verdict = judge_log(tmp_path / "a" / "log.txt", suite=suite)
    assert (verdict.status, verdict.findings) == ("converged", ())


def test_run_without_saves_makes_none_and_synchronises_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "Saver", None)
    run, outcome = attempt(tmp_path / "a", standin(tmp_path, save_every_s=0.0))
    assert (outcome.status, run.saves) == ("converged", None)
    assert not (tmp_path / "a" / "saved").exists()


def test_session_that_starts_anew_is_found_out(tmp_path, at_once):
    request = standin(tmp_path, "behaviour=starts anew")
    attempt(tmp_path / "a", request)
    _, error = attempt(tmp_path / "a", request, whole(tmp_path / "a" / "saved")[-1])
    assert isinstance(error, RunFailed)
    assert "goes on from step 7, found one that starts anew" in str(error)


def test_only_so_often_as_asked_for(tmp_path, at_once):
    run, _ = attempt(tmp_path / "a", standin(tmp_path, "pause=0.05", save_every_s=0.12))
    assert 1 <= run.account.facts["saves"]["times"] <= 2
    assert run.account.facts["saves"]["bytes"] > 0


class Full(Saver):
    """A disk that is full from the second state on."""

    def save(self, state, step):
        if step > 1:
            self._complete = self._fail
        return super().save(state, step)

    def _fail(self, path):
        raise RunFailed("no space left")


def test_state_that_cannot_be_written_is_one_line_and_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "Saver", Full)
    run, outcome = attempt(tmp_path / "a", standin(tmp_path, "pause=0.3"))
    assert outcome.status == "converged"
    assert set(run.told) == {f"this run was not saved: expected to write a checkpoint under {tmp_path / 'a' / 'saved'}, "
                             "found RunFailed: no space left; it goes on"}
    assert [path.name for path in (tmp_path / "a" / "saved").glob("step-*")] == ["step-1"]


def test_disk_without_room_is_not_written_to(tmp_path, at_once, monkeypatch):
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    run, outcome = attempt(tmp_path / "a", standin(tmp_path))
    assert outcome.status == "converged"
    assert run.told
    assert all("67 MB of room" in line and "found 1 MB; it goes on" in line for line in run.told)
    assert whole(tmp_path / "a" / "saved") == []


# --- generations ---


def state(folder, step, log=b"a line\n"):
    path = folder / f"step-{step}"
    path.mkdir(parents=True)
    (path / "__0_0.distcp").write_bytes(bytes(100))
    (path / ".metadata").write_bytes(b"x")
    generations.complete(path, Position(7, 1000, 2000 + step, At(step * 8, 1, step), Memory((At(),), 1, (At(),))), {"data set": "a"},
                         evaluations=[{"epoch": 1}], log=log)
    return path


def test_generation_comes_back_as_it_was(tmp_path):
    state(tmp_path, 3)
    state(tmp_path, 20)
    found = whole(tmp_path)
    assert [one.step for one in found] == [3, 20]
    assert found[0].position == Position(7, 1000, 2003, At(24, 1, 3), Memory((At(),), 1, (At(),)))
    assert (found[0].log(), found[0].identity, found[0].evaluations) == (b"a line\n", {"data set": "a"}, [{"epoch": 1}])
    assert whole(tmp_path / "none") == []


def shortened(path, by=1):
    path.write_bytes(path.read_bytes()[:-by])


@pytest.mark.parametrize("harm", [
    lambda path: shortened(path / "__0_0.distcp"), lambda path: (path / "__0_0.distcp").unlink(), lambda path: (path / ".metadata").unlink(),
    lambda path: shortened(path / "log.txt"), lambda path: (path / "run.json").unlink(), lambda path: shortened(path / "run.json", 9),
    lambda path: (path / "run.json").write_text("[]"), lambda path: (path / "run.json").write_text('{"files": {}}'),
    lambda path: (path / "run.json").write_text((path / "run.json").read_text().replace('"seed"', '"sead"')),
    lambda path: (path / "run.json").rename(path / "run.json.new")])
def test_generation_that_is_harmed_leaves_the_one_before(tmp_path, harm):
    state(tmp_path, 1)
    harm(state(tmp_path, 2))
    assert [one.step for one in whole(tmp_path)] == [1]


def test_scratch_that_is_missing_makes_a_generation_none(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "8.pt").write_bytes(bytes(9))
    path = tmp_path / "step-1"
    path.mkdir()
    position = Position(7, 0, 0, At(8, 1, 1), Memory(), (generations.Offline(At(8, 1, 1), "8.pt", 5),))
    generations.complete(path, position, {}, evaluations=[], log=b"")
    assert [one.position for one in whole(tmp_path)] == [position]
    (tmp_path / "scratch" / "8.pt").unlink()
    assert whole(tmp_path) == []


def test_clearing_leaves_what_is_kept(tmp_path):
    state(tmp_path, 1)
    (tmp_path / "step-2").mkdir()
    (tmp_path / "history.json").write_text("[]")
    clear(tmp_path, whole(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.json", "step-1"]
    clear(tmp_path)
    assert not tmp_path.exists()


CHANGES = {"configuration": {"overrides": ("pause=0.5",)}, "number of processes": {"nproc": 2},
           "number of threads": {"threads": 3}, "division": {"division": "open"}, "fixed seed": {"seed": 4}}


@pytest.mark.parametrize("change", CHANGES)
def test_state_of_another_run_is_refused_and_says_what_differs(tmp_path, change):
    base = request_of(tmp_path, threads=1)
    path = state(tmp_path, 1)
    found = replace(whole(tmp_path)[0], identity=identity(resolve(base), "0123"))
    refuse_foreign(found, identity(resolve(replace(base, save_every_s=60.0)), "0123"), "run 1")
    with pytest.raises(InvalidConfiguration, match=rf"run 1 was saved with another {change} than this command has \(.*{path.name}\)") as error:
        refuse_foreign(found, identity(resolve(replace(base, **CHANGES[change])), "0123"), "run 1")
    assert "--fresh" in error.value.hint


def test_state_of_another_round_other_data_or_other_code_is_refused(tmp_path, monkeypatch):
    flight = resolve(request_of(tmp_path))
    state(tmp_path, 1)
    found = replace(whole(tmp_path)[0], identity=identity(flight, "0123"))
    with pytest.raises(InvalidConfiguration, match="another round"):
        refuse_foreign(found, identity(replace(flight, round=replace(flight.round, name="mini-99")), "0123"), "run 1")
    with pytest.raises(InvalidConfiguration, match="another data set"):
        refuse_foreign(found, identity(flight, "4567"), "run 1")
    copied = tmp_path / "suite" / "standin"
    shutil.copytree(folders(flight.request.suite)["standin"], copied)
    monkeypatch.setattr(generations, "folders", lambda suite: {"standin": copied})
    refuse_foreign(found, identity(flight, "0123"), "run 1")
    (copied / "config.py").write_text("# another line\n" + (copied / "config.py").read_text())
    with pytest.raises(InvalidConfiguration, match="another version of the code"):
        refuse_foreign(found, identity(flight, "0123"), "run 1")


def saved_set(folder, **more):
    """The notes and the states of a set in which something was saved of the first of three runs."""
    flight = resolve(request_of(folder, threads=1, **more))
    with SetFolder.open(flight) as opened:
        opened.notes.clear()
        if not opened.saved(0).exists():
            path = state(opened.saved(0), 4)
            content = identity(replace(flight, request=opened.request), "0123")
            generations.save(path / "run.json", {**generations.orjson.loads((path / "run.json").read_bytes()), "identity": content})
            (opened.saved(0) / "step-9").mkdir()
        return opened.going_on("0123"), opened.notes, opened.saved(0)


def test_set_finds_what_its_runs_go_on_from_and_removes_the_rest(tmp_path):
    found, notes, folder = saved_set(tmp_path)
    assert ({index: one.step for index, one in found.items()}, notes) == ({0: 4}, [])
    assert [path.name for path in folder.iterdir()] == ["step-4"]
    assert [*saved_set(tmp_path)[0]] == [0]


def test_fresh_start_is_what_was_asked_for(tmp_path):
    saved_set(tmp_path)
    found, notes, folder = saved_set(tmp_path, fresh=True)
    assert (found, notes) == ({}, ["run 1 starts anew: as asked"])
    assert not folder.exists()


def test_run_of_which_nothing_whole_was_saved_starts_anew(tmp_path):
    *_, folder = saved_set(tmp_path)
    (folder / "step-4" / "run.json").unlink()
    found, notes, _ = saved_set(tmp_path)
    assert (found, notes) == ({}, ["run 1 starts anew: nothing whole was saved"])
    assert not folder.exists()


def test_interruptions_add_up():
    one = Interruption(8, saved_ms=10_000, interrupted_ms=13_000, resumed_ms=20_000)
    assert summary([one]) == {"away_seconds": 7.0, "repeated_seconds": 3.0}
    again = Interruption(8, saved_ms=10_000, interrupted_ms=21_500, resumed_ms=30_000)  # from the same state
    assert summary([one, again]) == {"away_seconds": 15.5, "repeated_seconds": 4.5}
    assert summary([]) == {"away_seconds": 0.0, "repeated_seconds": 0.0}


# --- when a state is whole; what clock, meter and journal know ---

EPOCHS = Plan(8, Point(3, "epochs"), Cadence("epochs", (2,), 1), Sizes(16, 4, 16))
SAMPLES = Plan(8, Point(64, "samples"), Cadence("samples", (16,), 16), Sizes(160, 4, 160))


@pytest.mark.parametrize(("event", "plan", "safe"), [
    (Progress(At(8, 1, 1)), EPOCHS, True), (Progress(At(16, 1, 2)), EPOCHS, True), (Progress(At(32, 2, 4)), EPOCHS, False),
    (Evaluated(At(32, 2, 4), {}), EPOCHS, True), (Checkpoint(At(32, 2, 4), Path("x")), EPOCHS, True), (Evaluated(At(48, 3, 6), {}), EPOCHS, False),
    (Progress(At(40, 3, 5)), EPOCHS, True), (Epoch(At()), EPOCHS, False), (Evaluating(At(32, 2, 4)), EPOCHS, False),
    (Progress(At(56, 1, 7)), SAMPLES, True), (Progress(At(64, 1, 8)), SAMPLES, False), (Evaluated(At(64, 1, 8), {}), SAMPLES, False),
    (Evaluated(At(16, 1, 2), {}), SAMPLES, True)])
def test_state_is_whole_where_training_can_go_on(event, plan, safe):
    assert whole_state(event, plan) is safe


def events_of(plan, per_epoch):
    """The events of the shared loop, with a sign of life at every step."""
    at = At()
    for epoch in range(1, 10):
        yield Epoch(at := at.in_epoch(epoch))
        for _ in range(per_epoch // 8):
            before, at = at, at.after(8)
            if plan.due(before, at):
                yield from (Evaluating(at), Evaluated(at, {"eval_accuracy": 0.5}))
            else:
                yield Progress(at)
            if plan.exhausted(at):
                return
        if plan.due_at_end(epoch):
            yield from (Evaluating(at), Evaluated(at, {"eval_accuracy": 0.5}))
        if plan.exhausted_after(epoch):
            return


class Ticks:
    now = 0

    def now_ms(self):
        self.now += 1
        return self.now


def played(plan, events, journal=None):
    sink, rules = ListSink(), load_round("v4.0").benchmarks["resnet"]
    journal = journal or Journal(sink, load_round("v4.0"), rules, Ticks())
    journal._sink = sink
    journal.follow(plan)
    for event in events:
        journal.event(event)
    return journal, [(record.key, {**record.metadata, "lineno": 0}) for record in sink.records]


@pytest.mark.parametrize("plan", [EPOCHS, SAMPLES, replace(EPOCHS, evaluations=Cadence("epochs", (1, 3), 0))])
def test_journal_that_goes_on_writes_what_it_would_have_written(plan):
    events = list(events_of(plan, plan.sizes.samples_per_epoch))
    _, wanted = played(plan, events)
    cuts = [place for place, event in enumerate(events, 1) if whole_state(event, plan)]
    assert len(cuts) > 3
    for cut in cuts:
        first, before = played(plan, events[:cut])
        assert not first.evaluating
        second = Journal(ListSink(), load_round("v4.0"), load_round("v4.0").benchmarks["resnet"], Ticks())
        second.mute()
        second.start("run_start")
        second.recall(first.memory(), ListSink())
        assert before + played(plan, events[cut:], second)[1] == wanted


def test_clock_that_was_put_back_goes_on_from_the_last_stamp():
    clock = Clock()
    ahead = clock.now_ms() + 3_600_000
    clock.not_before(ahead)
    assert ahead <= clock.now_ms() < ahead + 10_000
    clock.not_before(0)
    assert clock.now_ms() >= ahead


def test_meter_counts_the_rate_of_this_attempt_and_the_time_of_all():
    told = []
    meter = Meter(load_round("v4.0").benchmarks["resnet"], SAMPLES, told.append, Begun(100.0, 40))
    meter._watch = type("Watch", (), {"seconds": lambda self: 2.0})()
    meter.tell("epoch", At(60, 1, 7))
    meter.tell("evaluated", At(20, 1, 2))  # of a checkpoint that was saved before the interruption
    assert [(one.elapsed_s, one.samples, one.samples_per_second) for one in told] == [(102.0, 60, 10.0), (102.0, 20, 0.0)]


# --- the command line ---


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("1d", 86400), ("30", 30), (".5s", 0.5)])
def test_durations_are_typed_with_a_unit(text, seconds):
    assert run_command.make_context("run", ["resnet", "--save-every", text]).params["save_every"] == seconds


@pytest.mark.parametrize("text", ["", "m", "10 minutes", "-1s", "1e3", "nan", "inf", "1" * 400, "1w"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(Exception, match="expected a duration such as 90s, 10m or 1h"):
        run_command.make_context("run", ["resnet", f"--save-every={text}"])


LOOPS = [name for name, folder in folders().items() if (folder / "benchmark.py").is_file() and "Iterator[Event]" in (folder / "train.py").read_text()]


@pytest.mark.parametrize("name", LOOPS)
def test_benchmark_with_a_loop_of_its_own_is_not_saved(name):
    with pytest.raises(InvalidConfiguration, match=f"no --save-every for '{name}'"):
        resolve(RunRequest(name, save_every_s=60.0))
    resolve(RunRequest(name))


def test_every_other_benchmark_can_be_saved():
    runnable = {name for name, folder in folders().items() if (folder / "benchmark.py").is_file()}
    assert {name for name in runnable if not load(name, "benchmark").BENCHMARK.resumes} == set(LOOPS)


FULL = """
import sys
from pathlib import Path
import test_saving as tests
from laptime.harness import saving
disk, folder = Path(sys.argv[1]), Path(sys.argv[2])
saving.LEFT_BYTES = -10**9  # as if somebody else filled the disk in the meantime
folder.mkdir()
(disk / "saved").mkdir()
(folder / "saved").symlink_to(disk / "saved")
(disk / "filler").write_bytes(bytes(36_000))
run, outcome = tests.attempt(folder, tests.standin(folder, "pause=0.3"))
print(outcome.status, [one.step for one in tests.whole(folder / "saved")], len(list((disk / "saved").iterdir())))
print(*run.told, sep="\\n")
"""


@pytest.mark.seconds
@pytest.mark.skipif(not can_mount(), reason="needs leave to mount a small disk (user namespaces)")
def test_disk_that_is_full_costs_states_and_not_the_run(tmp_path):
    disk, script = tmp_path / "disk", tmp_path / "full.py"
    disk.mkdir()
    script.write_text(FULL)
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parents[1] / 'support'}:{Path(__file__).parent}"}
    command = f"mount -t tmpfs -o size=64k tmpfs {disk} && exec {sys.executable} -P {script} {disk} {tmp_path / 'a'}"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", command], capture_output=True, text=True, env=environment, timeout=200, check=False)
    first, *told = done.stdout.splitlines()
    assert first == "converged [1] 1", done.stderr
    assert len(told) > 1
    assert all(line.startswith("this run was not saved: expected to write") and "No space left on device; it goes on" in line for line in told)
