"""What stands behind the token of a log line, as a Record, in the three dialects.

Line forms and their irregular variants: log format facts, sections 1 and 2; sheet on older forms, sections 1, 2.1, 3.
Nothing is evaluated: text that is no JSON is at most read as Python literals or as words in braces.
"""

import ast
import json
import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast, get_args

import orjson

from laptime.config import Json
from laptime.log.record import Dialect, EventType, Record

EVENT_TYPES = frozenset(get_args(EventType))
DEEPEST = 60  # lists and objects within each other
_LATEST = 1e15  # ms; beyond the year 30000 a time is none
_LENIENT_LIMIT = 20_000  # characters; longer text that is no JSON is not worth a second look
_MLL = re.compile(r"(\d+(?:\.\d+)?)\s+([A-Za-z_]\w*)\s*:\s*(\S.*)", re.DOTALL)
_MLP05 = re.compile(r"\S+ +(\S+) +(\d+(?:\.\d+)?) +\((.*?):(\d+)\) +(\w+)\s*(?::(.*))?$", re.DOTALL)
_BARE_NAME = re.compile(r'([{,]\s*)([A-Za-z_]\w*)(\s*:)')
_BARE_WORD = re.compile(r'(:\s*)(?!true\b|false\b|null\b)([A-Za-z_]\w*)(\s*[,}])')
_EPOCH_TAGS = {"train_epoch", "eval_start", "eval_stop"}  # mlp05 tags whose bare integer is an epoch


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a line (0: the whole file). `harmless`: nothing was lost by it."""

    line: int
    text: str
    harmless: bool = False


Report = Callable[[str, bool], None]  # text, harmless


def usual(payload: bytes, line: int) -> Record | None:
    """The record in `payload` (what follows `:::MLLOG `) where it is just as the official library writes it."""
    try:
        return _usual(orjson.loads(payload), line)
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None


def parse(dialect: Dialect, payload: bytes, line: int, report: Report) -> Record | None:
    """The record in `payload` (what follows `:::MLLOG `, `:::MLL ` or `:::MLPv`); None when it is beyond reading."""
    if dialect == "mllog":
        record = _mllog(payload, line, report)
    else:
        text = _text(payload)
        record = _mll(text, line, report) if dialect == "mll" else _mlp05(text, line, report)
    if record is not None and brackets(payload) > DEEPEST and _depth((record.value, record.metadata)) > DEEPEST:
        report(f"the values of '{record.key}' are nested too deeply (more than {DEEPEST} times)", False)
        return None
    return record


def brackets(payload: bytes) -> int:
    """How many lists and objects a line may hold, and so how deep they may be nested at most."""
    return payload.count(b"[") + payload.count(b"{") + payload.count(b"(")


def _depth(value: object) -> int:
    """How deep lists and objects are nested, without recursion; counts no further than DEEPEST."""
    level, depth = [value], 0
    while level and depth <= DEEPEST + 1:
        inner = [part for part in level if isinstance(part, dict | list | tuple)]
        level = [item for part in inner for item in (part.values() if isinstance(part, dict) else part)]
        depth += bool(inner)
    return depth - 1


def _mllog(payload: bytes, line: int, report: Report) -> Record | None:
    try:
        fields = orjson.loads(payload)
    except orjson.JSONDecodeError:
        try:
            fields = _json(_text(payload))
        except ValueError as problem:
            report(f"expected a JSON object after the token, found {_excerpt(payload)} ({problem})", False)
            try:
                fields = _unstrict(_text(payload))
            except ValueError:
                return None
    if not isinstance(fields, dict):
        report(f"expected a JSON object after the token, found {_excerpt(payload)}", False)
        return None
    return _record(fields, line, report)


def _usual(fields: dict[str, Json], line: int) -> Record | None:
    """The record where everything is as it should be. Raises LookupError where something is missing."""
    key, time_ms, metadata, kind = fields["key"], fields["time_ms"], fields["metadata"], fields["event_type"]
    value, namespace = fields["value"], fields["namespace"]
    if type(key) is str and type(time_ms) is int and type(metadata) is dict and type(namespace) is str \
            and kind in EVENT_TYPES and 0 <= time_ms < _LATEST:
        return Record(key, value, time_ms, cast(EventType, kind), metadata, namespace, line)
    return None


def _record(fields: Mapping[str, Json], line: int, report: Report) -> Record | None:
    """A Record from the six fields; what is missing or of a wrong type is reported."""
    key, time_ms = fields.get("key"), _time_ms(fields, report)
    metadata, kind, namespace = fields.get("metadata"), fields.get("event_type"), fields.get("namespace")
    if not isinstance(key, str):
        report(f"expected a text field 'key', found {'none' if key is None else _shown(key)}", False)
        return None
    if time_ms is None:
        return None
    if "value" not in fields:
        report(f"field 'value' is missing in the line of '{key}'", False)
    if not isinstance(metadata, Mapping):
        report(f"expected an object 'metadata' in the line of '{key}', found {type(metadata).__name__}", False)
        metadata = {}
    if not isinstance(kind, str) or kind not in EVENT_TYPES:
        report(f"expected an event_type of {', '.join(sorted(EVENT_TYPES))}, found {_shown(kind)}", True)
        kind = _usual_event_type(key)
    return Record(key, fields.get("value"), time_ms, cast(EventType, kind), metadata,
                  namespace if isinstance(namespace, str) else "", line)


def _time_ms(fields: Mapping[str, Json], report: Report) -> float | None:
    raw = fields.get("time_ms")
    if type(raw) in (int, float) and abs(cast(float, raw)) < _LATEST:
        return cast(float, raw)
    if raw is None and isinstance(seconds := fields.get("time_s"), int | float) and abs(seconds) < _LATEST:
        report("the time is in a field 'time_s' (seconds) instead of 'time_ms'", True)
        return seconds * 1000
    try:
        time_ms = float(cast(str, raw))
    except (TypeError, ValueError, OverflowError):
        time_ms = math.nan
    if abs(time_ms) < _LATEST and not isinstance(raw, bool):
        return time_ms
    report(f"expected a number 'time_ms', found {'none' if raw is None else _shown(raw)}", False)
    return None


def _usual_event_type(key: str) -> EventType:
    if key.endswith("_start"):
        return "INTERVAL_START"
    return "INTERVAL_END" if key.endswith("_stop") else "POINT_IN_TIME"


def _mll(text: str, line: int, report: Report) -> Record | None:
    match = _MLL.match(text.strip())
    if not match:
        report(f"expected 'seconds key: object' after the token, found {_excerpt(text)}", False)
        return None
    seconds, key, payload = match.groups()
    fields = _lenient(payload, report)
    if not isinstance(fields, dict):
        report(f"expected an object with 'value' and 'metadata' for '{key}', found {_excerpt(payload)}", False)
        return None
    metadata = fields.get("metadata")
    if "value" not in fields or not isinstance(metadata, dict):
        report(f"expected 'value' and an object 'metadata' in the line of '{key}'", False)
    return Record(key, fields.get("value"), _milliseconds(seconds),
                  metadata=metadata if isinstance(metadata, dict) else {}, line=line)


def _mlp05(text: str, line: int, report: Report) -> Record | None:
    match = _MLP05.match(text.strip())
    if not match:
        report(f"expected 'version benchmark seconds (file:line) tag: value', found {_excerpt(text)}", False)
        return None
    benchmark, seconds, file, lineno, tag, payload = match.groups()
    metadata: dict[str, Json] = {"file": file, "lineno": int(lineno[:9])}
    value: Json = None
    if payload is not None and payload.strip():
        value = _unfolded(tag, _lenient(payload, report), metadata)
    return Record(tag, value, _milliseconds(seconds), metadata=metadata, namespace=benchmark, line=line)


def _unfolded(tag: str, value: Json, metadata: dict[str, Json]) -> Json:
    """The value proper; epoch, iteration and outcome (as `status`, its later name) go to `metadata`."""
    if isinstance(value, int) and not isinstance(value, bool) and tag in _EPOCH_TAGS:
        metadata["epoch"] = value
        return None
    if not isinstance(value, Mapping):
        return value
    if set(value) == {"success"}:  # a boolean, or "true" in some logs
        metadata["status"] = "success" if str(value["success"]).lower() == "true" else "aborted"
        return None
    if "value" in value and set(value) <= {"value", "epoch", "iteration"}:
        metadata |= {name: item for name, item in value.items() if name != "value"}
        return value["value"]
    return value


def _lenient(text: str, report: Report) -> Json:
    """JSON; failing that, with a report, what it seems to mean, or the text itself."""
    try:
        return _json(text)
    except ValueError:
        report(f"expected JSON, found {_excerpt(text)}", False)
    try:
        return _unstrict(text)
    except ValueError:
        return text.strip()


def _unstrict(text: str) -> Json:
    """Python literals (nothing is run), or JSON with names that lack their quotes. ValueError for anything else."""
    if len(text) > _LENIENT_LIMIT:
        raise ValueError("too long for a second look")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd literals: they are not our program text
            return cast(Json, _plain(ast.literal_eval(_as_python(text))))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    return _json(_BARE_WORD.sub(r'\1"\2"\3', _BARE_NAME.sub(r'\1"\2"\3', text)))


def _as_python(text: str) -> str:
    """JSON's constants inside a Python literal, as in {'value': null}."""
    for json_word, python_word in (("null", "None"), ("true", "True"), ("false", "False")):
        text = re.sub(rf"\b{json_word}\b", python_word, text)
    return text.strip()


def _plain(value: object) -> object:
    """`value` if JSON could hold it; ValueError else."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"not a JSON value: {type(value).__name__}")


def _json(text: str) -> Json:
    """`json.loads`, with too deep nesting as the ValueError that it is to us; NaN and Infinity are read."""
    try:
        return cast(Json, json.loads(text))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return payload.decode("latin-1")


def _milliseconds(seconds: str) -> float:
    """Decimal seconds as milliseconds, exact to the millisecond and then to a float's precision."""
    whole, _, fraction = seconds.partition(".")
    milliseconds = int(whole[-12:]) * 1000 + int(fraction[:3].ljust(3, "0"))
    rest = fraction[3:].rstrip("0")
    return milliseconds + float(f"0.{rest[:9]}") if rest else milliseconds


def _shown(value: object) -> str:
    """A value, cut where it is long; not written out where that alone would be much."""
    if isinstance(value, dict | list):
        return type(value).__name__
    return repr(value)[:60]


def _excerpt(text: str | bytes) -> str:
    short = text[:60] if isinstance(text, str) else _text(text[:60])
    return repr(short.strip()) + ("..." if len(text) > 60 else "")
