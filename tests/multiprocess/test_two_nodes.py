"""Two nodes on one machine, with addresses of their own, started by the commands that `laptime launch` prints."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from laptime import errors
from laptime.harness.processes import below, living
from laptime.log.read import read_log

pytestmark = pytest.mark.seconds
BIN = Path(sys.executable).parent
SUITE = Path(__file__).parents[1] / "harness" / "suite"
ROOM_SECONDS = 20.0  # for a busy machine
ENDLESS = ("--set=behaviour=together", "--set=pause=0.3", "--set=limit_epochs=2000", "--set=reaches_at=0")
ENVIRONMENT = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def free_ports():
    """A port with a free one behind it (torchrun's own, and ours), at every address, and none that others get by chance."""
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("", port)), socket.create_server(("", port + 1)):
            return port


def printed(folder, benchmark, form, *options, hosts="127.0.0.2,127.0.0.3"):
    """The commands of both nodes, as `laptime launch` prints them."""
    words = [BIN / "laptime", "launch", benchmark, form, "--nodes=2", f"--hosts={hosts}", f"--rendezvous={hosts.split(',')[0]}:{free_ports()}",
             f"--out={folder / 'out'}", f"--data={folder / 'data'}", "--device=cpu", "--threads=1", "--system=box", *options]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return re.split(r"^# node \d.*\n", text, flags=re.M)[1:]


@contextmanager
def nodes(commands):
    """Both nodes, running; whatever happens, they are gone afterwards."""
    running = [subprocess.Popen(["bash", "-c", "exec " + command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                env=ENVIRONMENT, start_new_session=True) for command in commands]
    families = []
    try:
        yield running
        families = [one for process in running for one in below(process.pid)]
    finally:
        for process in running:
            if process.poll() is None:
                families += below(process.pid)
                process.kill()
            process.communicate()
        for one in living(families):
            os.kill(one.pid, signal.SIGKILL)


def logs(folder, pattern):
    return sorted((folder / "out").glob(f"laptime/results/box/*/{pattern}"))


def wait_for(condition, running, seconds=150):
    deadline = time.monotonic() + seconds
    while not condition():
        assert all(process.poll() is None for process in running), [process.communicate()[0] for process in running]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def training(folder):
    return lambda: any("run_start" in path.read_text() for path in logs(folder, "running_0.log"))


def status_of(path):
    found = read_log(path)
    assert found.problems == ()
    return [record.metadata["status"] for record in found.records if record.key == "run_stop"]


def values(path, key):
    return [record.value for record in read_log(path).records if record.key == key]


@pytest.mark.parametrize(("form", "benchmark", "options"), [
    pytest.param("--torchrun", "resnet", ("--round=smoke", "--runs=1"), marks=pytest.mark.slow),
    ("--torchrun", "standin", (f"--suite={SUITE}", "--runs=1", "--set=behaviour=together")),
    ("--nodes-only", "standin", (f"--suite={SUITE}", "--runs=2", "--set=behaviour=together"))])
def test_runs_of_two_nodes_reach_the_target_and_one_node_writes_the_logs(tmp_path, form, benchmark, options):
    commands = printed(tmp_path, benchmark, form, *options)
    with nodes(commands) as running:
        said = [process.communicate(timeout=400)[0] for process in running]
        assert [process.returncode for process in running] == [errors.FINE, errors.FINE], said
    found = logs(tmp_path, "result_*.txt")
    assert len(found) == (1 if "--runs=1" in options else 2)
    assert all(status_of(path) == ["success"] for path in found)
    assert len({values(path, "seed")[0] for path in found}) == len(found)
    assert [re.findall(r"seed (\d+)", text) for text in said] == [[str(values(path, "seed")[0]) for path in found]] * 2
    assert logs(tmp_path, "output_0_member_1.txt")
    assert '"number_of_nodes": "2"' in (tmp_path / "out/laptime/systems/box.json").read_text()


@pytest.fixture
def job(tmp_path):
    """A job of two nodes that trains for ever, and what its first node says in the end: (folder, commands)."""
    return tmp_path, printed(tmp_path, "standin", "--nodes-only", f"--suite={SUITE}", *ENDLESS)


def ended(folder, running, begin, patience):
    """What the first node said, after the checks that hold for every fault."""
    said = running[0].communicate(timeout=120)[0]
    assert time.monotonic() - begin < patience + ROOM_SECONDS
    assert "Traceback" not in said
    assert "0 of 2 runs are finished and kept" in said or "0 of 3 runs are finished and kept" in said
    assert status_of(logs(folder, "unfinished_0_0.log")[0]) == ["aborted"]
    return said


def test_node_that_dies_ends_the_run_on_the_other(job):
    folder, commands = job
    with nodes(commands) as running:
        wait_for(training(folder), running)
        family, begin = below(running[1].pid), time.monotonic()
        running[1].kill()
        said = ended(folder, running, begin, 10)
        assert running[0].returncode == errors.RUN_FAILED
        assert re.search(r"run 1 of \d failed: member 1 \(on .*\) is lost: its connection (ended|broke)", said), said
        while living(family) and time.monotonic() - begin < 60:
            time.sleep(0.1)
        assert living(family) == []


@pytest.mark.slow
def test_rank_killed_on_another_node_is_named(job):
    folder, commands = job
    with nodes(commands) as running:
        wait_for(training(folder), running)
        begin = time.monotonic()
        for process in below(running[1].pid):
            os.kill(process.pid, signal.SIGKILL)
        said = ended(folder, running, begin, 10)
        assert re.search(r"failed: member 1 \(on .*\): the process of rank 1 was killed by SIGKILL", said), said
        assert "the process of rank 1 was killed" in running[1].communicate(timeout=60)[0]
        assert running[1].returncode == running[0].returncode == errors.RUN_FAILED


def test_scheduler_that_stops_one_node_ends_the_set_on_both(job):
    folder, commands = job
    with nodes(commands) as running:
        wait_for(training(folder), running)
        begin = time.monotonic()
        running[1].terminate()
        said = ended(folder, running, begin, 10)
        assert "stopped by SIGTERM, but not by this set" in said
        assert "stopped by SIGTERM" in running[1].communicate(timeout=60)[0]


@pytest.mark.slow
def test_scheduler_that_stops_the_first_node_ends_the_set_on_both(job):
    folder, commands = job
    with nodes(commands) as running:
        wait_for(training(folder), running)
        begin = time.monotonic()
        running[0].terminate()
        assert "stopped by SIGTERM; 0 of" in ended(folder, running, begin, 10)
        assert "stopped by SIGTERM; 0 of" in running[1].communicate(timeout=60)[0]
        assert running[1].returncode == running[0].returncode == errors.TERMINATED


def test_member_that_asks_for_something_else_is_refused(job):
    _, (first, second) = job
    with nodes([first, second.replace("pause=0.3", "pause=0.4")]) as running:
        said = [process.communicate(timeout=120)[0] for process in running]
        assert all("asks for another command than the first one does" in text for text in said), said
        assert [process.returncode for process in running] == [errors.WRONG_USE] * 2


CUT = """
import os, subprocess, sys, time
from pathlib import Path
first, second, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
def ip(*words, inside=()): subprocess.run([*inside, "ip", *words], check=True)
other = subprocess.Popen(["unshare", "-n", "sleep", "900"])
time.sleep(1)
inside = ["nsenter", "-t", str(other.pid), "-n"]
ip("link", "set", "lo", "up"); ip("link", "set", "lo", "up", inside=inside)
ip("link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", str(other.pid))
ip("addr", "add", "10.77.0.1/24", "dev", "v0"); ip("link", "set", "v0", "up")
ip("addr", "add", "10.77.0.2/24", "dev", "v1", inside=inside); ip("link", "set", "v1", "up", inside=inside)
running = [subprocess.Popen([*where, "bash", "-c", "exec " + command], stdout=open(folder / f"node{i}", "w"), stderr=subprocess.STDOUT)
           for i, (where, command) in enumerate([((), first), (inside, second)])]
log = folder / "out/laptime/results/box/standin/running_0.log"
while not (log.exists() and "run_start" in log.read_text()):
    assert all(one.poll() is None for one in running), [(folder / f"node{i}").read_text() for i in (0, 1)]
    time.sleep(0.2)
time.sleep(1)
ip("link", "set", "v0", "down")
begin = time.monotonic()
codes = [one.wait(120) for one in running]
print("CODES", *codes, "SECONDS", time.monotonic() - begin)
other.kill()
"""


def can_cut():
    test = "ip link add v0 type veth peer name v1"
    return subprocess.run(["unshare", "-rn", "sh", "-c", test], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_cut(), reason="needs leave to make network namespaces")
def test_link_that_is_cut_ends_both_nodes_with_a_clear_message(tmp_path):
    first, second = printed(tmp_path, "standin", "--nodes-only", f"--suite={SUITE}", *ENDLESS, hosts="10.77.0.1,10.77.0.2")
    done = subprocess.run(["unshare", "-rn", sys.executable, "-c", CUT, first, second, str(tmp_path)], capture_output=True, text=True,
                          env=ENVIRONMENT, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    code, other, seconds = re.search(r"CODES (\d+) (\d+) SECONDS ([\d.]+)", done.stdout).groups()
    said = [(tmp_path / f"node{i}").read_text() for i in (0, 1)]
    assert (int(code), int(other)) == (errors.RUN_FAILED, errors.RUN_FAILED)
    assert 10 < float(seconds) < 35 + ROOM_SECONDS
    assert re.search(r"failed: member 1 \(on .*\) is lost: nothing was heard of it for 15 s", said[0]), said[0]
    assert "the first member at 10.77.0.1:" in said[1]
    assert "is lost: nothing was heard of it for 15 s" in said[1]
    assert "Traceback" not in "".join(said)
    assert status_of(logs(tmp_path, "unfinished_0_0.log")[0]) == ["aborted"]
