"""The writer, byte for byte, and what it does when the disk or the folder refuses."""

import json
import math
import resource
import types

import pytest
from mlperf_logging.mllog.mllog import _encode_log

from laptime.errors import RunFailed, UserError
from laptime.log.read import read_log
from laptime.log.record import Record
from laptime.log.write import LogWriter, format_line

EVALUATION = Record("eval_accuracy", 0.75, 1700000000123, metadata={"epoch_num": 3, "lineno": 41, "file": "run.py"})


def test_mllog_line():
    assert format_line(EVALUATION, "mllog") == (
        ':::MLLOG {"namespace": "", "time_ms": 1700000000123, "event_type": "POINT_IN_TIME", "key": "eval_accuracy", '
        '"value": 0.75, "metadata": {"file": "run.py", "lineno": 41, "epoch_num": 3}}')


@pytest.mark.parametrize("value", [None, True, 1e-05, "ä\n\"", [1, 2.5], {"BBOX": 0.1}, math.nan, -math.inf])
def test_mllog_line_is_what_the_official_library_writes(value):
    record = Record("k", value, 12.0, "INTERVAL_END", {"file": "f", "lineno": 1, "x": [1]}, "worker1")
    official = _encode_log("worker1", 12, "INTERVAL_END", "k", value, {"file": "f", "lineno": 1, "x": [1]})
    assert format_line(record, "mllog") == official


def test_mll_line():
    assert format_line(EVALUATION, "mll") == (':::MLL 1700000000.123 eval_accuracy: {"value": 0.75, "metadata": '
                                              '{"file": "run.py", "lineno": 41, "epoch_num": 3}}')


@pytest.mark.parametrize(("key", "value", "extra", "tail"), [
    ("eval_accuracy", 0.75, {"epoch_num": 3}, 'eval_accuracy: {"epoch": 3, "value": 0.75}'),
    ("run_stop", None, {"status": "success"}, 'run_stop: {"success": true}'),
    ("run_stop", None, {"status": "aborted"}, 'run_stop: {"success": false}'),
    ("train_epoch", None, {"epoch_num": 0}, "train_epoch: 0"),
    ("train_epoch", None, {"epoch": 4}, "train_epoch: 4"),
    ("eval_iteration_accuracy", 0.2, {"iteration": 7}, 'eval_iteration_accuracy: {"iteration": 7, "value": 0.2}'),
    ("run_start", None, {}, "run_start"),
    ("input_size", 224, {}, "input_size: 224")])
def test_mlp05_line(key, value, extra, tail):
    record = Record(key, value, 1541731848585, metadata={"file": "a b.py", "lineno": 5, **extra})
    assert format_line(record, "mlp05", "resnet") == f":::MLPv0.5.0 resnet 1541731848.585 (a b.py:5) {tail}"


@pytest.mark.parametrize(("time_ms", "text"), [
    (0, "0.000"), (1.5, "0.001500000"), (999.9999999, "1.000"), (1541731848585.25, "1541731848.585250000")])
def test_seconds(time_ms, text):
    assert format_line(Record("k", None, time_ms), "mll").split()[1] == text


def test_plain_mappings_are_written_and_objects_refused():
    metadata = types.MappingProxyType({"file": "f", "x": types.MappingProxyType({"a": (1, 2)})})
    assert json.loads(format_line(Record("k", None, 0, metadata=metadata), "mllog")[9:])["metadata"]["x"] == {"a": [1, 2]}
    with pytest.raises(TypeError, match="plain values, found object"):
        format_line(Record("k", object(), 0), "mllog")


def test_lines_are_on_disk_before_close(tmp_path):
    writer = LogWriter(tmp_path / "result_0.txt")
    writer.write(EVALUATION)
    assert (tmp_path / "result_0.txt").read_text() == format_line(EVALUATION, "mllog") + "\n"
    writer.close()
    writer.close()


def test_an_existing_log_is_never_overwritten(tmp_path):
    path = tmp_path / "result_0.txt"
    path.write_text("mine")
    with pytest.raises(UserError, match="found an existing file"):
        LogWriter(path)
    assert path.read_text() == "mine"


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(UserError, match="cannot create the log"):
        LogWriter(tmp_path / "no" / "result_0.txt")


def write_lines(path, count):
    with LogWriter(path) as writer:
        for _ in range(count):
            writer.write(EVALUATION)


def test_a_full_disk_leaves_whole_lines(tmp_path):
    """A file size limit stands in for a full disk: the write is cut in mid-line, then refused."""
    path = tmp_path / "result_0.txt"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    line = len(format_line(EVALUATION, "mllog")) + 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * line + 10, hard))
    try:
        with pytest.raises(RunFailed, match=r"no room left for the log .*result_0\.txt"):
            write_lines(path, 5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log = read_log(path)
    assert (len(log.records), log.problems, path.stat().st_size) == (2, (), 2 * line)


def test_another_write_error_is_said(tmp_path):
    writer = LogWriter(tmp_path / "result_0.txt")
    writer._file.close()
    writer._file = (tmp_path / "result_0.txt").open("rb", buffering=0)  # a file that cannot be written
    with pytest.raises(RunFailed, match="cannot write the log"):
        writer.write(EVALUATION)
    writer._file.close()
