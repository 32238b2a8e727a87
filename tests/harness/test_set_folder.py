"""The folder of a set: one set at a time, one identity, files that are never lost, scripts that repeat the measurement."""

import errno
import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
from harness_runs import request_of, run_of

from laptime.config import LARGEST, RunRequest, override
from laptime.errors import InvalidConfiguration, RunFailed, UserError
from laptime.harness import record, set_folder
from laptime.harness.one_run import Outcome, Stopped
from laptime.harness.preflight import resolve
from laptime.harness.record import save, write_record
from laptime.harness.scripts import scripts
from laptime.harness.set_folder import SetFolder


def opened(request):
    return SetFolder.open(resolve(request))


def scripts_of(folder):
    return folder / "out" / "laptime" / "benchmarks" / "standin" / "box"


# Files that are whole or as they were.


@pytest.fixture
def full(monkeypatch):
    def refuse(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(record.os, "fsync", refuse)


def test_set_file_survives_a_full_disk(tmp_path, request):
    with opened(request_of(tmp_path)) as folder:
        seed = folder.fresh_seed(lambda: 5)
        before = (folder.results / "set.json").read_bytes()
    request.getfixturevalue("full")
    with pytest.raises(RunFailed, match=r"cannot write .*set.json: No space left on device"), opened(request_of(tmp_path)):
        pytest.fail("opened")
    assert (folder.results / "set.json").read_bytes() == before
    assert json.loads(before)["seeds"] == [seed]
    assert sorted(path.name for path in folder.results.iterdir()) == ["set.json"]


def test_file_that_is_replaced_is_never_seen_half_written(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    save(path, {"a": 1})
    seen = []
    replaced = Path.replace
    monkeypatch.setattr(Path, "replace", lambda old, new: (seen.append((path.read_text(), old.read_text())), replaced(old, new)))
    save(path, {"a": 2})
    assert [tuple(json.loads(text)["a"] for text in pair) for pair in seen] == [(1, 2)]
    assert json.loads(path.read_text()) == {"a": 2}
    assert list(tmp_path.iterdir()) == [path]


def test_damaged_set_file_is_said_in_one_line(tmp_path):
    with opened(request_of(tmp_path)) as folder:
        pass
    (folder.results / "set.json").write_text("")
    with pytest.raises(UserError, match=r"set.json is damaged"), opened(request_of(tmp_path)):
        pytest.fail("opened")


# One set at a time.


def test_second_set_in_a_folder_is_refused_and_the_lock_vanishes(tmp_path):
    with opened(request_of(tmp_path)) as folder:
        assert [path.name for path in folder.results.glob("*lock*")] == ["set.lock"]
        with pytest.raises(UserError, match="another laptime run works in this folder"), opened(request_of(tmp_path)):
            pytest.fail("opened")
    assert list(folder.results.glob("*lock*")) == []
    with opened(request_of(tmp_path)):
        pass


def test_lock_of_a_killed_process_does_not_count(tmp_path):
    with opened(request_of(tmp_path)) as folder:
        pass
    program = ("import os, sys\nfrom pathlib import Path\nfrom laptime.harness.lock import alone_in\n"
               "with alone_in(Path(sys.argv[1])):\n    os.kill(os.getpid(), 9)\n")
    subprocess.run([sys.executable, "-c", program, str(folder.results)], check=False, timeout=30)
    assert (folder.results / "set.lock").exists()
    with opened(request_of(tmp_path)):
        pass
    assert not (folder.results / "set.lock").exists()


def test_lock_is_dropped_when_opening_fails(tmp_path):
    with opened(request_of(tmp_path)):
        pass
    with pytest.raises(InvalidConfiguration), opened(request_of(tmp_path, division="open")):
        pytest.fail("opened")
    with opened(request_of(tmp_path)) as folder:
        assert folder.missing() == [0, 1, 2]


# One identity.


@pytest.mark.parametrize(("change", "words"), [
    ({"threads": 7}, "another threads: 3, asked for 7"), ({"device": "meta"}, "another device: cpu, asked for meta"),
    ({"nproc": 2}, "another processes: 1, asked for 2"), ({"seed": 4}, "another seed: None, asked for 4"),
    ({"stop_at_target": False}, "another stop_at_target"), ({"overrides": ("opt_weight=0.25",)}, "another configuration")])
def test_runs_of_another_kind_are_refused(tmp_path, change, words):
    request = request_of(tmp_path, threads=3, device="cpu")
    with opened(request):
        pass
    with pytest.raises(InvalidConfiguration, match=words), opened(replace(request, **change)):
        pytest.fail("opened")


def test_another_version_of_the_program_is_refused(tmp_path, monkeypatch):
    with opened(request_of(tmp_path)):
        pass
    monkeypatch.setattr(set_folder.metadata, "version", lambda _: "99")
    with pytest.raises(InvalidConfiguration, match=r"another laptime version: .*, asked for 99"), opened(request_of(tmp_path)):
        pytest.fail("opened")


def test_automatic_threads_and_device_are_those_that_are_taken(tmp_path):
    with opened(request_of(tmp_path)) as folder:
        known = json.loads((folder.results / "set.json").read_text())
    assert known["threads"] >= 1
    assert known["device"] != "auto"
    with opened(request_of(tmp_path, threads=known["threads"], device=known["device"])):
        pass


def test_data_are_part_of_what_runs_have_in_common(tmp_path):
    with opened(request_of(tmp_path)) as folder:
        folder.agree_on_data("abc")
        folder.fresh_seed(lambda: 9)
    with opened(request_of(tmp_path)) as folder:
        folder.agree_on_data("abc")
        with pytest.raises(InvalidConfiguration, match="another data: abc, asked for def"):
            folder.agree_on_data("def")
    assert folder.seeds == [9]


# Logs.


def test_unfinished_logs_take_the_first_free_number(tmp_path):
    with opened(request_of(tmp_path)) as folder:
        (folder.results / "unfinished_0_1.log").write_text("kept")
        for text in ("a", "b"):
            folder.log_in_progress(0).write_text(text)
            folder.keep(0, finished=False)
        logs = {path.name: path.read_text() for path in folder.results.glob("*.log")}
    assert logs == {"unfinished_0_0.log": "a", "unfinished_0_1.log": "kept", "unfinished_0_2.log": "b"}


@pytest.mark.parametrize(("jobs", "shared"), [(1, False), (2, True)])
def test_record_says_whether_runs_shared_the_machine(tmp_path, jobs, shared):
    run, _ = run_of(tmp_path, jobs=jobs)
    write_record(run, Outcome("converged", 1.0, ""))
    assert json.loads(run.job.record.read_text())["shared_machine"] is shared


# What happens after the last line.


@pytest.mark.parametrize(("raised", "words"), [(Stopped("SIGTERM"), ""), (OSError("closing"), "after its end: OSError: closing")])
def test_nothing_after_run_stop_changes_the_outcome(tmp_path, raised, words):
    run, sink = run_of(tmp_path)
    build = run.flight.benchmark.build

    def built(config, context):
        session = build(config, context)
        train = session.train

        def events():
            try:
                yield from train()
            except GeneratorExit:
                raise raised from None

        session.train = events
        return session

    run.flight = replace(run.flight, benchmark=replace(run.flight.benchmark, build=built))
    outcome = run.execute()
    assert (outcome.status, outcome.message) == ("converged", words)
    assert outcome.seconds is not None
    assert sink.metadata("run_stop") == [{"status": "success"}]


# Scripts.


def test_scripts_repeat_the_measurement(tmp_path):
    request = request_of(tmp_path, "pause=0.1", nproc=2, threads=3, device="cpu", seed=4, runs=2, submitter="A & B",
                         status="onprem", system="box 1", jobs=2)
    text = scripts(resolve(request), request)
    words = shlex.split(text["run_and_time.sh"].splitlines()[1])
    assert words[:5] == ["laptime", "run", "standin", "--round", resolve(request).round.name]
    options = dict(zip(words[5::2], words[6::2], strict=True))
    assert options == {"--division": "closed", "--submitter": "A & B", "--status": "onprem", "--system": "box 1",
                       "--nproc": "2", "--threads": "3", "--device": "cpu", "--seed": "4", "--runs": "2",
                       "--set": "pause=0.1", "--data": str(tmp_path / "data"), "--out": str(tmp_path / "out"),
                       "--suite": str(request.suite.extra)}
    assert "--source" not in text["init_datasets.sh"]
    assert f"'laptime[train]=={metadata.version('laptime')}'" in text["setup.sh"]


def test_scripts_name_no_folder_that_the_user_did_not_name(tmp_path):
    request = replace(request_of(tmp_path), data=RunRequest("").data, out=None)
    text = scripts(resolve(request), replace(request, out=tmp_path))
    assert str(tmp_path) not in "".join(text.values())
    assert "--data" not in text["run_and_time.sh"]


def test_scripts_ask_for_the_download_of_published_data(tmp_path):
    flight = resolve(request_of(tmp_path))
    flight = replace(flight, rules=replace(flight.rules, data="published"))
    text = scripts(flight, flight.request)["init_datasets.sh"]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "laptime").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "bin" / "laptime").chmod(0o755)
    (tmp_path / "x.sh").write_text(text)

    def ran(*arguments):
        return subprocess.run(["/bin/sh", str(tmp_path / "x.sh"), *arguments], capture_output=True, text=True, check=False,
                              env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"})

    assert ran("a folder").stdout.endswith("--source a folder\n")
    assert ran().returncode != 0


def test_files_that_people_completed_are_kept(tmp_path):
    system = tmp_path / "out" / "laptime" / "systems" / "box.json"
    with opened(request_of(tmp_path)) as folder:
        assert folder.notes == []
    mine = [system, *(scripts_of(tmp_path) / name for name in ("README.md", "setup.sh", "init_datasets.sh", "run_and_time.sh"))]
    for path in mine:
        path.write_text("completed by hand")
    implementation = scripts_of(tmp_path) / "box_laptime.json"
    implementation.write_text(json.dumps(json.loads(implementation.read_text()) | {"contact": "me", "configuration": {}}))
    with opened(request_of(tmp_path)) as folder:
        assert folder.notes == [f"{scripts_of(tmp_path) / 'run_and_time.sh'} is kept as it is, although this command would "
                                "write another one"]
    assert {path.read_text() for path in mine} == {"completed by hand"}
    content = json.loads(implementation.read_text())
    assert (content["contact"], content["configuration"]["opt_weight"]) == ("me", 0.5)


# Names and numbers that cannot be.


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", ".x", "..", "a\nb", " a", "a ", "\t", "x" * 201, "a\udce9"])
@pytest.mark.parametrize("option", ["submitter", "system"])
def test_names_that_are_no_folders_are_refused(tmp_path, option, name):
    with pytest.raises(InvalidConfiguration, match=f"expected a name for --{option} that a folder can have") as error:
        request_of(tmp_path, **{option: name})
    assert "\n" not in str(error.value)


def test_submitter_must_have_a_name(tmp_path):
    with pytest.raises(InvalidConfiguration, match="expected a name for --submitter"):
        request_of(tmp_path, submitter="")
    assert request_of(tmp_path, system="").system == ""


@pytest.mark.parametrize("name", ["laptime", "Ünï GmbH", "8x_NVIDIA_H200", "a.b-c", "x" * 200])
def test_names_that_folders_can_have_are_taken(tmp_path, name):
    assert request_of(tmp_path, submitter=name, system=name).system == name


@pytest.mark.parametrize(("seed", "runs"), [(LARGEST + 1, None), (LARGEST, 5), (-1, None), (10**30, None)])
def test_seed_that_does_not_fit_is_refused(tmp_path, seed, runs):
    with pytest.raises(InvalidConfiguration, match="expected --seed to be a number from 0"):
        request_of(tmp_path, seed=seed, runs=runs)


@pytest.mark.parametrize("value", [10**30, -10**30, LARGEST + 1])
def test_settings_have_at_most_63_bits(tmp_path, value):
    flight = resolve(request_of(tmp_path))
    with pytest.raises(InvalidConfiguration, match="expected a number of at most 63 bits"):
        override(flight.config, [f"global_batch_size={value}"])
    assert override(flight.config, [f"global_batch_size={LARGEST}"]).global_batch_size == LARGEST
