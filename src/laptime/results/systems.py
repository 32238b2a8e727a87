"""System descriptions as rows, in both forms: systems/<system>.json and, of the first round, entry.json.

Submission package facts, sections 1 and 2. Descriptions are anybody's: what cannot be read is left empty.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from laptime.compliance.finding import printable
from laptime.compliance.system_description import Description, category, read_description
from laptime.config import Json
from laptime.layout import ResultFolder, below_round, description_of
from laptime.results.store import Row, key_number
from laptime.rules.model import Round

_TIMES = re.compile(r"\s*(\d{1,4})x\s+(.*)", re.DOTALL)  # "2x Intel(R) Xeon(R) ..."
_MOST_COUNT = 10**9
_MOST_FIELDS = 20_000  # characters of all fields together


@dataclass(frozen=True)
class Hardware:
    """Counts are of all nodes together; None: not said."""

    nodes: int | None = None
    processor: str | None = None
    processors: int | None = None
    accelerator: str | None = None
    accelerators: int | None = None


def system_row(found: ResultFolder, round_: Round | None) -> Row:
    """The row of a result's system; one with names only where there is no description."""
    path = description_of(found)
    description = read_description(path) if path is not None else Description(found.path)
    text, nodes = description.text, description.fields.get("nodes")
    hardware = of_groups(nodes) if isinstance(nodes, list) else of_totals(description)
    status, name = text("status"), found.system or found.path.name
    file = "" if path is None else below_file(path, found)
    round_name = None if round_ is None else round_.name
    return (
        key_number(f"{round_name}/{system_place(found)}/{name}"), round_name, found.submitter, name,
        text("system_name") or text("hardware"), text("division"), status,
        category(round_, status) if round_ and status else None, hardware.nodes, hardware.processor,
        hardware.processors, hardware.accelerator, hardware.accelerators, text("framework"),
        text("hw_notes") or text("notes"), text("sw_notes"), as_text(description.fields), file, 0)


def system_place(found: ResultFolder) -> str:
    """The folder of a result's system below that of the round."""
    place = below_round(found.path / "log").parent
    return (place.parent if found.system else place).as_posix()


def below_file(path: Path, found: ResultFolder) -> str:
    """A description's path below the folder of the round: it lies in the submission that holds the result."""
    inside = below_round(found.path / "log")
    home = found.path.absolute()
    for _ in range(len(inside.parts) - 1):
        home = home.parent
    absolute = path.absolute()
    return printable((absolute.relative_to(home) if absolute.is_relative_to(home) else Path(path.name)).as_posix())


def of_totals(found: Description) -> Hardware:
    """The form with one kind of node."""
    nodes = found.count("number_of_nodes")
    return Hardware(nodes, found.text("host_processor_model_name"),
                    _product(nodes, found.count("host_processors_per_node")),
                    found.text("accelerator_model_name"), _product(nodes, found.count("accelerators_per_node")))


def of_groups(groups: Sequence[Json]) -> Hardware:
    """The form with a list of groups of equal nodes. Names are those of the first group that has any."""
    read = [Description(Path(), group) for group in groups[:100] if isinstance(group, Mapping)]
    if not read:
        return Hardware()
    counts = [group.count("num_nodes") or 0 for group in read]
    processor = next((text for group in read if (text := group.text("cpu"))), None)
    match = _TIMES.fullmatch(processor or "")
    return Hardware(_bounded(sum(counts)), match[2] if match else processor,
                    _bounded(sum(counts) * int(match[1])) if match else None,
                    next((text for group in read if (text := group.text("accelerator"))), None),
                    _bounded(sum(map(_accelerators, read, counts))))


def _accelerators(group: Description, nodes: int) -> int:
    """Of all nodes of a group; a name such as pod-512 beside the count 512 says that this is the total already."""
    count = group.count("num_accelerators") or 0
    return count if (group.text("accelerator") or "").endswith(f"-{count}") else count * nodes


def _product(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else _bounded(one * other)


def _bounded(count: int) -> int | None:
    return count if 0 <= count <= _MOST_COUNT else None


def as_text(fields: Mapping[str, Json]) -> str:
    """All fields as JSON; of too many, the first."""
    kept: dict[str, Json] = {}
    size = 2
    for name, value in fields.items():
        try:
            text = orjson.dumps({name: value}).decode()
        except (TypeError, ValueError):  # integers and signs beyond JSON
            text = orjson.dumps({printable(name): printable(str(value)[:1000])}).decode()
        size += len(text)
        if size > _MOST_FIELDS - 2:
            break
        kept |= orjson.loads(text)
    return orjson.dumps(kept).decode()
