"""Configurations: nested frozen dataclasses, changed by typed overrides, saved as JSON.

Knows no benchmark and no torch. One override form, `a.b=value`; the value is parsed by the field's type.
"""

import dataclasses
import difflib
import math
import types
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from laptime.errors import InvalidConfiguration, UnknownName

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
Switch = Literal["auto", "on", "off"]
LARGEST = 2**63 - 1  # of whole numbers, as files and torch hold them
NAME_BYTES = 200  # of a folder's name; file systems allow 255, and endings are added
SHOWN_CHARACTERS = 120  # of what a user typed, in a message


@dataclass(frozen=True)
class Speed:
    """How a step is computed; "auto" is decided by the device (`training.speed.resolve`)."""

    dtype: Literal["auto", "float64", "float32", "bfloat16", "float8"] = "auto"
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    compile: Literal["auto", "off", "step"] = "auto"
    fused: Switch = "auto"
    tf32: Switch = "auto"


@dataclass(frozen=True)
class Parallel:
    """How a global batch, and a model, are spread. The number of processes comes from the launcher; it is
    pipeline x data x shard x context x tensor (docs/parallel.md)."""

    accumulation_steps: int = 1  # micro-batches per optimizer step on each process
    data_workers: int = -1  # decoding threads per process; -1: from the cores of the machine
    data: int = 0  # copies of the weights, each with samples of its own; 0: as the other sizes leave processes for
    shard: int = 1  # processes that share one copy of weights, gradients and optimizer state
    context: int = 1  # processes that share the positions of a sample
    keys: Literal["gather", "ring"] = "gather"  # how those get each other's keys and values: all at once, or in turn
    tensor: int = 1  # processes that share every layer
    sequence: bool = False  # between the products of a layer, the tensor processes share the positions
    pipeline: int = 1  # processes that share the depth
    schedule: Literal["1f1b", "gpipe"] = "1f1b"  # order of micro-batches in a pipeline
    checkpointing: Literal["off", "blocks"] = "off"  # blocks: activations within a block are computed again
    tables: Literal["whole", "rows"] = "whole"  # what a process holds of large embedding tables


class Config(Protocol):
    """What every benchmark's configuration has in common."""

    @property
    def global_batch_size(self) -> int: ...
    @property
    def parallel(self) -> Parallel: ...
    @property
    def speed(self) -> Speed: ...


@dataclass(frozen=True)
class SuitePath:
    """Where benchmark folders are looked for beside the built-in suite."""

    extra: Path | None = None


@dataclass(frozen=True)
class RunRequest:
    """Everything `laptime run` was asked for; written to JSON for the worker processes."""

    benchmark: str
    round: str = "mini"
    division: Literal["closed", "open"] = "closed"
    out: Path | None = None  # None: runs/<round>
    data: Path = Path("data")
    overrides: tuple[str, ...] = ()
    nproc: int = 1  # processes per run on each node
    nodes: int = 1
    device: str = "auto"
    threads: int = 0  # compute threads per process; 0: cores / nproc, less one for data
    seed: int | None = None  # a given seed marks the run as not submittable
    jobs: int = 1  # runs at a time; more than one is for calibration, where only samples count, not seconds
    runs: int | None = None  # None: the number the round asks for
    stop_at_target: bool = True  # False: go on to the limit, for calibration; such runs are no results
    silence_s: float = 1800.0  # a run that gives no sign of life for so long has hung, and is ended
    save_every_s: float = 0.0  # between two saves of a run's whole state; 0: never
    fresh: bool = False  # True: interrupted runs start anew, whatever was saved of them
    submitter: str = "laptime"
    status: str = "research"  # submission_status, as the round spells it
    system: str = ""  # "" : named after the hardware found
    suite: SuitePath = SuitePath()
    command: tuple[str, ...] = ()  # as typed, for the record
    variables: tuple[str, ...] = ()  # NAME=value of the environment, those that change a run

    def __post_init__(self) -> None:
        """Raises InvalidConfiguration for names that cannot be folders and a seed that does not fit."""
        _path_element(self.submitter, "--submitter")
        if self.system:
            _path_element(self.system, "--system")
        if self.seed is not None and not 0 <= self.seed <= LARGEST - (self.runs or 0):  # each run adds one
            raise InvalidConfiguration(f"expected --seed to be a number from 0 to 2**63 - 1, found {_shown(self.seed)}")

    @property
    def processes(self) -> int:
        """Of one run, on all nodes together."""
        return self.nodes * self.nproc


Tree = TypeVar("Tree")


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint such as " Did you mean 'resnet'?", empty when nothing is near."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def override(config: Tree, changes: Iterable[str]) -> Tree:
    """A copy of `config` with every `a.b=value` of `changes` applied, left to right.

    Raises UnknownName for a field that does not exist and InvalidConfiguration for a value of the wrong type.
    """
    for change in changes:
        path, separator, text = change.partition("=")
        if not separator:
            raise InvalidConfiguration(f"expected an override like 'optimizer.lr=0.2', found '{_shown(change)}'")
        config = _replaced(config, path.strip().split("."), text.strip(), _shown(change))
    return config


def to_json(value: object) -> Json:
    """A configuration (or any plain value in it) as JSON data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def from_json(kind: type[Tree], data: Json) -> Tree:
    """The inverse of `to_json` for a dataclass `kind`. Raises InvalidConfiguration on data of another shape."""
    return _from_json(kind, data, kind.__name__)  # type: ignore[return-value]


def flat(config: object, prefix: str = "") -> dict[str, Json]:
    """Every leaf of a configuration as {"optimizer.lr": 0.2}."""
    leaves: dict[str, Json] = {}
    for f in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            leaves |= flat(value, f"{prefix}{f.name}.")
        else:
            leaves[prefix + f.name] = to_json(value)
    return leaves


def _path_element(name: str, option: str) -> None:
    """Submitter and system name folders and are written into logs."""
    plain = name.isprintable() and name == name.strip() and not set(name) & set("/\\")
    if not plain or not name or name.startswith(".") or len(name.encode()) > NAME_BYTES:
        raise InvalidConfiguration(f"expected a name for {option} that a folder can have, found '{_shown(name)}'",
                                   hint="No slash, line break, blank at the ends or dot at the beginning, and not too "
                                        "long.")


def _shown(text: object) -> str:
    """What was typed or read, on one line and not longer than a message can be."""
    line = " ".join(str(text).split())
    return line if len(line) <= SHOWN_CHARACTERS else line[:SHOWN_CHARACTERS] + "..."


def _replaced(config: Tree, path: Sequence[str], text: str, change: str) -> Tree:
    names = [f.name for f in dataclasses.fields(config)]  # type: ignore[arg-type]
    if path[0] not in names:
        raise UnknownName(f"unknown setting '{_shown(path[0])}' in override '{change}'.{nearest(path[0], names)}",
                          hint=f"Settings here: {', '.join(names)}.")
    old = getattr(config, path[0])
    if len(path) > 1:
        if not dataclasses.is_dataclass(old):
            raise UnknownName(f"setting '{path[0]}' in override '{change}' has no parts")
        new: object = _replaced(old, path[1:], text, change)
    elif dataclasses.is_dataclass(old):
        inner = ", ".join(f.name for f in dataclasses.fields(old))
        raise InvalidConfiguration(f"'{path[0]}' in override '{change}' is a group; set one of its parts: {inner}")
    else:
        new = _parsed(get_type_hints(type(config))[path[0]], text, change)
    return dataclasses.replace(config, **{path[0]: new})  # type: ignore[type-var]


def _parsed(kind: object, text: str, change: str) -> object:
    for option in _options(kind):
        try:
            return _as(option, text, change)
        except ValueError:
            continue
    raise InvalidConfiguration(f"override '{change}': expected {_describe(kind)}, found '{_shown(text)}'")


def _options(kind: object) -> tuple[object, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _as(kind: object, text: str, change: str) -> object:
    """`text` as one plain kind; ValueError when it is not one."""
    if kind is type(None):
        return _chosen(text.lower(), {"none": None, "null": None})
    if kind is bool:
        return _chosen(text.lower(), {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False})
    if kind is float:
        return _finite(float(text))
    if kind in (int, str, Path):
        return _fitting(kind(text), change)
    if get_origin(kind) is Literal:
        return _chosen(text, {str(value): value for value in get_args(kind)})
    if get_origin(kind) is tuple:
        items = [item for item in text.strip("()[]").split(",") if item.strip()]
        return tuple(_parsed(get_args(kind)[0], item.strip(), change) for item in items)
    raise ValueError(text)


def _finite(value: float) -> float:
    if not math.isfinite(value):  # no setting means anything at infinity, and JSON cannot say it
        raise ValueError(value)
    return value


def _fitting(value: object, change: str) -> object:
    if isinstance(value, int) and abs(value) > LARGEST:
        raise InvalidConfiguration(f"override '{change}': expected a number of at most 63 bits, found a larger one")
    return value


def _chosen(text: str, table: Mapping[str, object]) -> object:
    if text not in table:
        raise ValueError(text)
    return table[text]


def _describe(kind: object) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(str(v) for v in get_args(kind))
    names = [getattr(option, "__name__", str(option)) for option in _options(kind)]
    return " or ".join("none" if name == "NoneType" else name for name in names)


def _from_json(kind: object, data: Json, where: str) -> object:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(data, Mapping):
            raise InvalidConfiguration(f"expected an object at {where}, found {_shown(repr(data))}")
        hints = get_type_hints(kind)
        unknown = set(data) - set(hints)
        if unknown:
            raise UnknownName(f"unknown setting '{_shown(min(unknown))}' in {where}.{nearest(min(unknown), hints)}")
        missing = [f.name for f in dataclasses.fields(kind) if f.name not in data and _required(f)]
        if missing:
            raise InvalidConfiguration(f"expected a setting '{missing[0]}' in {where}, found none")
        return kind(**{name: _from_json(hints[name], value, f"{where}.{name}") for name, value in data.items()})
    if get_origin(kind) is tuple and isinstance(data, Sequence) and not isinstance(data, str):
        return tuple(_from_json(get_args(kind)[0], item, where) for item in data)
    if isinstance(data, str) and Path in _options(kind):
        return Path(data)
    return _checked(kind, data, where)


def _required(one: "dataclasses.Field[object]") -> bool:
    return one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING


def _checked(kind: object, data: Json, where: str) -> Json:
    for option in _options(kind):
        if get_origin(option) is Literal and data in get_args(option):
            return data
        if option is float and isinstance(data, int | float) and not isinstance(data, bool):
            with suppress(OverflowError, ValueError):
                return _finite(float(data))
        if isinstance(option, type) and type(data) is option:
            return data
    raise InvalidConfiguration(f"expected {_describe(kind)} at {where}, found {_shown(repr(data))}")
