"""Serving: this machine only, this folder only, up to date while logs grow, and an end without noise."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from itertools import pairwise

import pytest
from stores import store_of, write_description
from trees import write_result

from laptime.cli.main import main
from laptime.dashboard.export import Exporter
from laptime.dashboard.running import in_progress
from laptime.dashboard.serve import Refresher, Server, inside
from laptime.errors import UserError
from laptime.results import store

PATIENCE = 30


@contextmanager
def served(folder):
    with Server(folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=PATIENCE)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return found


@pytest.fixture(scope="module")
def server(small_store, tmp_path_factory):
    top = tmp_path_factory.mktemp("served")
    (top / "secret.txt").write_text("secret")
    Exporter(small_store, top / "site").write("today")
    (top / "site/link.js").symlink_to(top / "secret.txt")
    (top / "site/.hidden").write_text("secret")
    with served(top / "site") as one:
        yield one


@pytest.mark.parametrize(("path", "kind"), [("/", "text/html"), ("/index.html?v=1", "text/html"), ("/style.css", "text/css"), ("/data/index.js", "text/javascript"), ("/data/version.json", "application/json")])
def test_files_of_the_site_are_given_out(server, path, kind):
    status, body, headers = ask(server, path)
    assert (status, headers["Content-Type"].partition(";")[0]) == (200, kind)
    assert body
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "//../secret.txt", "/app/../../secret.txt", "/link.js", "/.hidden",
                                  "/%00", "/app", "/data/", "/none.js", "/" + "a" * 5000, "/%ff", "/..%5csecret.txt", "http://127.0.0.1/../secret.txt"])
def test_nothing_else_is_given_out(server, path):
    status, body, _ = ask(server, path)
    assert status == 404
    assert b"secret" not in body


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::2]:80"])
def test_other_names_of_the_server_are_refused(server, host):
    assert ask(server, "/", Host=host)[0] == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1"])
def test_own_names_of_the_server_are_answered(server, host):
    assert ask(server, "/", Host=host)[0] == 200


def test_head_has_no_body(server):
    status, body, headers = ask(server, "/style.css", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 1000


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(server, method):
    assert ask(server, "/", method)[0] == 501


def test_server_listens_on_the_loopback_address_only(server):
    assert server.server_address[0] == "127.0.0.1"


def test_path_of_no_file_name_is_nothing(tmp_path):
    assert inside(tmp_path, "/%ff%fe") is None


def test_port_in_use_is_one_line(tmp_path, small_store, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} of this machine is in use"):
            Server(tmp_path, port)
        assert main(["dashboard", "serve", "--store", str(small_store), "--port", str(port)]) == 2
    assert capsys.readouterr().err == f"laptime: port {port} of this machine is in use\n  Give another one by --port; 0 takes a free one.\n"


def refresher(top, *paths, store_file=None, told=None):
    file = store_file or top / "live.sqlite"
    return Refresher(Exporter(file, top / "live"), paths, lambda _: "today", (told if told is not None else []).append, top / "running", seconds=0.05)


def test_a_growing_log_is_seen_evaluation_by_evaluation(tmp_path):
    home = write_result(tmp_path, "ACME", runs=1)
    log = home / "results/box/resnet/result_0.txt"
    lines = log.read_text().splitlines(keepends=True)
    ends = [*[at + 1 for at, line in enumerate(lines) if '"eval_stop"' in line][:3], len(lines)]
    one, seen = refresher(tmp_path, home), []
    for end in ends:
        log.write_text("".join(lines[:end]))
        assert one.once()
        with store.reading(tmp_path / "live.sqlite") as connection:
            seen.append(connection.execute("SELECT evaluations, status FROM run").fetchone()[:])
    assert [count for count, _ in seen][:3] == [1, 2, 3]
    assert seen[-1][1] == "converged"
    assert all(before[1] != "converged" for before, _ in pairwise(seen))


def runs_in(top):
    with store.reading(top / "live.sqlite") as connection:
        return [tuple(row) for row in connection.execute("SELECT number, status, evaluations FROM run ORDER BY entry, number")]


def test_a_run_in_progress_is_shown_beside_those_that_have_ended(tmp_path):
    home = write_result(tmp_path, "ACME", runs=3)
    write_description(home, "box")
    folder = home / "results/box/resnet"
    lines = (folder / "result_2.txt").read_text().splitlines(keepends=True)
    (folder / "result_2.txt").unlink()
    end = [at + 1 for at, line in enumerate(lines) if '"eval_stop"' in line][1]
    (folder / "running_2.log").write_text("".join(lines[:end]))
    one = refresher(tmp_path, tmp_path / "v4.0")
    one.once()
    assert [run[1:] for run in runs_in(tmp_path)] == [("converged", 9), ("converged", 9), ("unfinished", 2)]
    with store.reading(tmp_path / "live.sqlite") as connection:
        assert connection.execute("SELECT accelerator FROM results").fetchone()[0] == "Chip X"
        key = connection.execute("SELECT key FROM entry").fetchone()[0]
    (folder / "running_2.log").write_text("".join(lines))
    (folder / "running_2.log").rename(folder / "result_2.txt")
    one.once()
    assert [run[1:] for run in runs_in(tmp_path)] == [("converged", 9)] * 3
    with store.reading(tmp_path / "live.sqlite") as connection:
        assert [row[0] for row in connection.execute("SELECT key FROM entry")] == [key]


def test_the_first_run_is_shown_before_it_has_ended(tmp_path):
    folder = write_result(tmp_path, "ACME", runs=1) / "results/box/resnet"
    (folder / "result_0.txt").rename(folder / "running_0.log")
    refresher(tmp_path, tmp_path / "v4.0").once()
    assert runs_in(tmp_path) == [(0, "converged", 9)]


def test_links_and_odd_names_in_progress_are_left_alone(tmp_path):
    folder = write_result(tmp_path, "ACME", runs=1) / "results/box/resnet"
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "running_1.log").symlink_to(tmp_path / "secret.txt")
    (folder / "running_x.log").write_text("x")
    in_progress([tmp_path / "v4.0"], tmp_path / "running")
    assert {path.name for path in (tmp_path / "running").rglob("*.*")} == {"v4.0", "result_0.txt"}


def test_nothing_in_progress_copies_nothing(tmp_path):
    write_result(tmp_path, "ACME", runs=1)
    paths = [tmp_path / "v4.0", tmp_path / "none"]
    assert in_progress(paths, tmp_path / "running") == paths
    assert not (tmp_path / "running").exists()


def test_a_line_that_is_half_written_stops_nothing(tmp_path):
    home = write_result(tmp_path, "ACME", runs=1)
    log = home / "results/box/resnet/result_0.txt"
    log.write_bytes(log.read_bytes()[:-40])
    assert refresher(tmp_path, home).once()


def test_result_that_is_left_out_is_told_once(tmp_path):
    told = []
    one = refresher(tmp_path, write_result(tmp_path / "a", "ACME"), write_result(tmp_path / "b", "ACME"), told=told)
    one.once()
    one.once()
    assert len(told) == 1
    assert "another folder" in told[0]


def test_what_is_not_there_yet_is_told_and_waited_for(tmp_path):
    told = []
    one = refresher(tmp_path, tmp_path / "v4.0", told=told)
    one.first()
    assert len(told) == 1
    assert "found nothing at" in told[0]
    assert (tmp_path / "live/index.html").is_file()
    write_result(tmp_path, "ACME")
    assert one.once()


def test_store_that_is_missing_is_not_waited_for(tmp_path):
    with pytest.raises(UserError, match="expected a store of results"):
        refresher(tmp_path).first()


def test_nothing_new_writes_nothing(tmp_path):
    one = refresher(tmp_path, write_result(tmp_path, "ACME"))
    assert [one.once(), one.once()] == [True, False]


def test_trouble_is_told_once_and_the_next_time_may_work(tmp_path):
    told = []
    one = refresher(tmp_path, tmp_path / "v4.0", told=told)
    one.start()
    wait_for(lambda: told)
    time.sleep(0.2)
    assert len(told) == 1
    write_result(tmp_path, "ACME")
    wait_for((tmp_path / "live/index.html").is_file)
    one.stop()


def wait_for(what):
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.seconds
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_served_until_it_is_stopped_and_nothing_is_left(tmp_path, sent):
    file = store_of(tmp_path)
    process = subprocess.Popen([sys.executable, "-m", "laptime", "dashboard", "serve", "--store", str(file), "--port", "0"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    line = process.stdout.readline()
    assert line.startswith("http://127.0.0.1:")
    port = int(line.split("/")[2].split(":")[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", "/data/version.json")
    assert connection.getresponse().status == 200
    connection.close()
    process.send_signal(sent)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "Ended.\n", "")
    assert not list(tmp_path.glob("laptime-dashboard-*"))
