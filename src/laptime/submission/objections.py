"""The objections file: one entry per point of a review, answered and tracked by people, kept by reruns.

Review works by issues with "by" and "against" tags, evidence and a status (process facts, section 3). The file is
TOML, so that answers can be written by hand; a rerun keeps what people wrote, adds what is new and marks what is gone.
"""

import json
import os
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from laptime.compliance.finding import printable
from laptime.errors import UserError
from laptime.submission.suspicions import Suspicion

STATES: Final = ("open", "answered", "accepted", "rejected", "resolved")
UNSETTLED: Final = ("open", "answered")
LARGEST_BYTES = 4 << 20
MANUAL = "manual"  # kind of an objection that a person added: reruns leave it alone
_HEAD = """\
# Objections of a review. Reruns keep by, status, fix_required and answer of every entry, add new ones, and set status
# to "resolved" where the point is gone. status: open, answered, accepted, rejected or resolved.
# An objection of your own: copy an entry, give it an id of its own and kind = "manual".
"""


@dataclass(frozen=True)
class Objection:
    """One point. `by`: who objects; `against`: whose submission; `answer`, `status`, `fix_required`: kept by reruns."""

    id: str
    kind: str
    against: str
    title: str
    text: str = ""
    by: str = ""
    system: str = ""
    benchmark: str = ""
    source: str = ""
    places: tuple[str, ...] = ()
    status: str = "open"
    fix_required: bool = False
    answer: str = ""

    @property
    def unsettled(self) -> bool:
        return self.status in UNSETTLED


def objection(point: Suspicion, by: str = "") -> Objection:
    """An open objection about a point of a review."""
    return Objection(point.id, point.kind, printable(point.against), point.title, printable(point.text), by,
                     printable(point.system), printable(point.benchmark), printable(point.source), point.places)


def updated(known: Sequence[Objection], points: Iterable[Suspicion], by: str = "") -> tuple[Objection, ...]:
    """The objections after a rerun, known ones first: words and places are the new ones, answers the old ones.

    A point that is gone is resolved, unless people settled it; one that comes back after that is open again.
    """
    fresh = {point.id: objection(point, by) for point in points}
    kept = [_rerun(old, fresh.pop(old.id, None)) for old in known]
    return (*kept, *fresh.values())


def read_objections(path: Path) -> tuple[Objection, ...]:
    """The entries of an objections file. Raises UserError that names what is wrong."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise UserError(f"expected an objections file at {path}, found more than {LARGEST_BYTES} bytes")
        data = tomllib.loads(content.decode())
    except OSError as problem:
        raise UserError(f"cannot read objections from {path}: {problem.strerror or problem}",
                        hint="laptime review SUBMISSION --out DIR writes such a file.") from None
    except (ValueError, RecursionError) as problem:
        raise UserError(f"expected TOML in {path}, found something else: {problem}",
                        hint="Text stands in quotes; a quote inside is written \\\".") from None
    listed = data.get("objection", [])
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise UserError(f"expected entries [[objection]] in {path}, found something else")
    found = tuple(_parsed(one, path) for one in listed)
    if twice := [name for name, count in Counter(one.id for one in found).items() if count > 1]:
        raise UserError(f"expected each id once in {path}, found '{twice[0]}' again", hint="Give the copy its own id.")
    return found


def write_objections(path: Path, objections: Sequence[Objection]) -> None:
    """Write the file whole or not at all. Raises UserError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text(objections), encoding="utf-8")
        partial.replace(path)
    except OSError as problem:
        raise UserError(f"cannot write {path}: {problem.strerror or problem}") from None


def text(objections: Sequence[Objection]) -> str:
    """The file as TOML."""
    return "\n".join([_HEAD, *(f"[[objection]]\n{_fields(one)}" for one in objections)])


def _rerun(old: Objection, new: Objection | None) -> Objection:
    if old.kind == MANUAL:
        return old
    if new is None:
        return replace(old, status="resolved") if old.unsettled else old
    status = "open" if old.status == "resolved" else old.status
    return replace(new, by=old.by or new.by, status=status, fix_required=old.fix_required, answer=old.answer)


def _fields(one: Objection) -> str:
    lines = [f"{name} = {_value(value)}" for name, value in vars(one).items() if value not in ("", ())
             or name in ("by", "answer")]
    return "\n".join(lines) + "\n"


def _value(value: str | bool | Sequence[str]) -> str:
    """As TOML; strings of printable signs and line ends are written alike in JSON and TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        lines = value.split("\n")
        return json.dumps("\n".join(map(printable, lines)), ensure_ascii=False)
    return "[" + "".join(f"\n  {_value(one)}," for one in value) + "\n]"


def _parsed(data: Mapping[str, object], path: Path) -> Objection:
    where = f"{path}, objection '{data.get('id', '?')}'"
    fields: dict[str, str] = {}
    for name in ("id", "kind", "against", "title", "text", "by", "system", "benchmark", "source", "status", "answer"):
        value = data.get(name, "open" if name == "status" else "")
        if not isinstance(value, str):
            raise UserError(f"expected text in field '{name}' of {where}, found {type(value).__name__}")
        fields[name] = value
    if unknown := data.keys() - {*fields, "fix_required", "places"}:
        raise UserError(f"unknown field '{sorted(unknown)[0]}' in {where}",
                        hint="People write by, status, fix_required and answer.")
    if not fields["id"]:
        raise UserError(f"expected an id in an objection of {path}, found none")
    if fields["status"] not in STATES:
        raise UserError(f"expected status {', '.join(STATES)} in {where}, found '{fields['status']}'")
    places, fix = data.get("places", []), data.get("fix_required", False)
    if not isinstance(places, list) or not all(isinstance(place, str) for place in places):
        raise UserError(f"expected a list of texts in field 'places' of {where}")
    if not isinstance(fix, bool):
        raise UserError(f"expected true or false in field 'fix_required' of {where}")
    return Objection(places=tuple(places), fix_required=fix, **fields)
