"""What is fuzzed: everything that reads other people's bytes. A target returns, or raises what should never be raised.

Seeds are made with our own writer and rule files. Used by tests/fuzz, with or without a coverage-guided fuzzer.
"""

import io
import json
import random
import tempfile
import tomllib
from contextlib import suppress
from pathlib import Path

from laptime.compliance.result import judge_folder
from laptime.compliance.system_description import check_description, read_description
from laptime.errors import UserError
from laptime.log.read import read_stream
from laptime.log.record import Record
from laptime.log.write import format_line
from laptime.rules.formula import Formula, FormulaError
from laptime.rules.keys import References, constraint
from laptime.rules.load import SUITE, load_round
from laptime.rules.schema import Table

FOLDER = Path(tempfile.mkdtemp(prefix="laptime-fuzz-"))
PLACE = {"file": "run.py", "lineno": 10}
LINES = [
    ("cache_clear", True, {}), ("submission_org", "acme", {}), ("submission_division", "closed", {}),
    ("submission_benchmark", "resnet", {}), ("init_start", None, {}), ("seed", 7, {}), ("global_batch_size", 1632, {}),
    ("opt_name", "lars", {}), ("opt_base_learning_rate", 7.4, {}), ("init_stop", None, {}), ("run_start", None, {}),
    ("block_start", None, {"first_epoch_num": 1, "epoch_count": 4}), ("eval_start", None, {"epoch_num": 4}),
    ("eval_accuracy", 0.7601, {"epoch_num": 4}), ("eval_stop", None, {"epoch_num": 4}),
    ("block_stop", None, {"first_epoch_num": 1}), ("run_stop", None, {"status": "success"})]
WORDS = [b":::MLLOG ", b":::MLL ", b":::MLPv0.5.0 ", b"\r", b"\n", b"\r\n", b"\0", b"NaN", b"Infinity", b"1e999", b"-1",
         b"1" + b"0" * 400, b"[" * 100, b'{"a":' * 100, b'"time_ms": ', b"null", b'"metadata": 3', b"\xff\xfe", b"\\ud800",
         b"__import__('os')", b"()", b"'", b'"', b"\x1b[31m", b"'status': 'success'", b"true", b"{}", b"[]", b",", b"}"]
FORMULAS = [b"v != ''", b"'epoch_num' in metadata", b"is_integer(v / 256) and v > 0", b"metadata.epoch_num % 4 == 0",
            b"close(v, 2 ** 3) or v in [1, 2]", b"ceil(global_batch_size / 64) ** 2 <= 10", b"min([1, 2]) < len('ab')",
            b"not (1 < v <= 3)", b"v[0]['x'] == -1", b"9 ** 9 ** 9 ** 9", b"is_type(v, 'list')", b"'a' * 10 ** 9"]
NAMES = {"v": 3, "metadata": {"epoch_num": 8, "x": [1]}, "global_batch_size": 4096, "occurrence": 1}


def read(data: bytes) -> None:
    """The reader: records that hold together, problems that are short."""
    log = read_stream(io.BytesIO(data), Path("result_0.txt"))
    lines = [record.line for record in log.records]
    assert lines == sorted(lines)
    assert all(record.time_ms == record.time_ms for record in log.records)
    assert all(len(problem.text) < 1000 for problem in log.problems)


def judge(data: bytes) -> None:
    """The whole judge: a result that is JSON, findings that are printable."""
    folder = FOLDER / "resnet"
    folder.mkdir(exist_ok=True)
    (folder / "result_0.txt").write_bytes(data)
    level = "rules" if len(data) % 2 else "official"
    for result in judge_folder(folder, round_name=("v4.0", "v2.0", "v0.6", "v0.5")[len(data) % 4], level=level, processes=1):
        json.dumps(result.to_json(), allow_nan=False)
        assert all(finding.text().isprintable() for run in result.runs for finding in run.findings)


def formula(data: bytes) -> None:
    """The formula language: refused, or computed within bounds."""
    try:
        made = Formula(data.decode("utf-8", "replace"))
    except UserError:
        return
    with suppress(FormulaError):
        made.value(NAMES)


def rule_table(data: bytes) -> None:
    """Rule tables from outside the package: refused in words, or constraints that judge any value."""
    try:
        rows = tomllib.loads(data.decode("utf-8", "replace")).get("keys", [])
    except (ValueError, RecursionError):
        return
    for row in rows if isinstance(rows, list) else []:
        try:
            made = constraint(Table(row if isinstance(row, dict) else {"key": row}, "fuzz.toml"), References({}, {}))
        except UserError:
            continue
        for value in (None, True, 1e308, "x", [1], {"a": 2}, 10**400):
            made.violation(value, NAMES)


def system_json(data: bytes) -> None:
    """System descriptions."""
    path = FOLDER / "system.json"
    path.write_bytes(data)
    found = read_description(path)
    for finding in check_description(found, load_round("v4.0"), "rules" if len(data) % 2 else "official"):
        assert finding.text().isprintable()


def log_seeds() -> list[bytes]:
    """A good log in each dialect."""
    records = [Record(key, value, 1_700_000_000_000 + i, metadata={**PLACE, **metadata})
               for i, (key, value, metadata) in enumerate(LINES)]
    return ["\n".join(format_line(record, dialect, "resnet") for record in records).encode()
            for dialect in ("mllog", "mll", "mlp05")]


def system_seeds() -> list[bytes]:
    fields = dict.fromkeys(load_round("v4.0").package.fields, "1") | {"division": "closed", "status": "onprem"}
    return [json.dumps(fields, indent=1).encode(), b'{"division": "Open", "number_of_nodes": 1e400,}']


def rule_seeds() -> list[bytes]:
    return [path.read_bytes()[:4000] for path in sorted(SUITE.glob("*/keys.toml"))[:3]] + [
        b'[[keys]]\nkey = "v"\none_of = [1, true]\nat_least = 2\nformula = "v != 3"\n']


TARGETS = {"read": (read, log_seeds), "judge": (judge, log_seeds), "formula": (formula, lambda: FORMULAS),
           "rule_table": (rule_table, rule_seeds), "system_json": (system_json, system_seeds)}


def mutated(source: random.Random, seeds: list[bytes]) -> bytes:
    """A seed with a few faults: bytes changed, cut, repeated, moved, replaced by words that hurt."""
    data = bytearray(source.choice(seeds))
    for _ in range(source.choice((1, 1, 2, 4, 16))):
        at, size = source.randrange(len(data) + 1), source.choice((1, 3, 20, 200))
        kind = source.randrange(6)
        if kind == 0:
            data[at:at + 1] = bytes([source.randrange(256)])
        elif kind == 1:
            del data[at:at + size]
        elif kind == 2:
            data[at:at] = source.choice(WORDS)
        elif kind == 3:
            data[at:at + size] = source.choice(WORDS)
        elif kind == 4:
            data[at:at] = data[at:at + size] * source.choice((1, 2, 50))
        else:
            other = source.choice(seeds)
            start = source.randrange(len(other) + 1)
            data[at:at] = other[start:start + size]
    return bytes(data)
