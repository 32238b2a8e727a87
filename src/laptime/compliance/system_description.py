"""System descriptions of submissions: can they be read, are they complete, do they use the words of the round.

Submission rules, section System Metadata; at level "official" the verdict of the system-description checker
(submission package facts, section 2). What is no JSON is read leniently: the checks after it have something to go by.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from laptime.compliance import reading
from laptime.compliance.finding import Finding, Level, shown
from laptime.compliance.run import catalogued
from laptime.config import Json, nearest
from laptime.rules.model import Round

_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')
_LINE = re.compile(r'\s*"([^"]+)"\s*:\s*("(?:\\.|[^"\\])*"|-?\d+(?:\.\d+)?)\s*,?\s*')
_MOST_NAMES = 200  # unknown fields that are compared with one that is missing
_WHOLE = re.compile(r"\d{1,12}(?:\.0{1,6})?")


@dataclass(frozen=True)
class Description:
    """A description as read: `fields` by name (none where nothing can be read) and what stood in the way."""

    path: Path
    fields: Mapping[str, Json] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def text(self, name: str) -> str | None:
        """The value of a field that holds a text; None for another value and where there is none."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else None

    def count(self, name: str) -> int | None:
        """The whole number in a field, written as a number or as a text."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        try:
            match = _WHOLE.fullmatch(str(value).strip())
        except ValueError:  # an integer of more digits than Python prints
            return None
        return int(float(match[0])) if match else None


def read_description(path: Path) -> Description:
    """The description in a file, whatever the file holds."""
    try:
        text = reading.text(path)
    except ValueError as problem:
        return _unread(path, f"expected a JSON file, found {problem}")
    try:
        data = json.loads(text)
    except json.JSONDecodeError as fault:
        read = _unread(path, f"expected JSON, found an error at column {fault.colno}: {fault.msg}", fault.lineno)
        return replace(read, fields=_leniently(text))
    except (ValueError, RecursionError):
        return _unread(path, "expected JSON, found a number or a nesting beyond reading")
    if not isinstance(data, dict):
        return _unread(path, f"expected a JSON object, found {type(data).__name__}")
    return Description(path, data)


def check_description(found: Description, round_: Round, level: Level) -> Iterator[Finding]:
    """Every departure of a description. At level "official" its errors are those of the official checker."""
    yield from found.findings
    if not found.fields:
        return
    yield from _missing(found, round_)
    yield from _status(found, round_, level)
    yield from _division(found, round_, level)
    if level == "official":
        yield from _texts(found, round_)
    else:
        yield from _answers(found, round_)


def category(round_: Round, status: str) -> str | None:
    """The category of the tables that a spelling of a status means; None for a spelling nobody knows."""
    return round_.package.categories.get("".join(sign for sign in status.lower() if sign.isalnum()))


def _unread(path: Path, message: str, line: int = 0) -> Description:
    return Description(path, {}, (catalogued("system-json", message, path, line),))


def _missing(found: Description, round_: Round) -> Iterator[Finding]:
    others = [name for name in found.fields if name not in round_.package.fields][:_MOST_NAMES]
    for name in round_.package.fields:
        if name not in found.fields:
            yield catalogued("system-fields", f"expected a field '{name}', found none.{nearest(name, others)}",
                             found.path)


def _status(found: Description, round_: Round, level: Level) -> Iterator[Finding]:
    """From the round on that fixes them, one of the exact values; before, any spelling of a category."""
    if "status" not in found.fields:
        return
    status = found.fields["status"]
    allowed = round_.package.statuses.get("checker" if level == "official" else "rules")
    if allowed is not None:
        if status not in allowed:
            yield catalogued("system-status", f"status is {_brief(status)}, expected one of {', '.join(allowed)}",
                             found.path)
    elif level == "rules" and round_.package.categories and not _known(round_, status):
        yield catalogued("system-status", f"expected a known spelling of a category as status, found {_brief(status)}",
                         found.path, severity="warning")


def _division(found: Description, round_: Round, level: Level) -> Iterator[Finding]:
    """Exact at level "rules"; to the official tools everything but 'closed' is not closed (quirk 5)."""
    if "division" not in found.fields or found.fields["division"] in round_.divisions:
        return
    division = found.fields["division"]
    skipped = "" if level == "rules" else "; the official tool takes it for not closed and skips its checks"
    yield catalogued("system-division", f"division is {_brief(division)}, expected one of "
                                        f"{', '.join(round_.divisions)}{skipped}", found.path,
                     severity="error" if level == "rules" else "warning")


def _texts(found: Description, round_: Round) -> Iterator[Finding]:
    for name in round_.package.joined_as_text:
        if name in found.fields and not isinstance(found.fields[name], str):
            yield catalogued("system-types", f"expected a text in field '{name}', found {_brief(found.fields[name])}",
                             found.path)


def _answers(found: Description, round_: Round) -> Iterator[Finding]:
    """Fields that need an answer and have none, told in one finding; without accelerators nobody asks about them."""
    rules, bare = round_.package, found.count("accelerators_per_node") == 0
    enough = any(_answered(found.fields.get(name)) for name in rules.one_suffices)
    empty = [name for name in rules.fields if name in found.fields and name not in rules.may_be_empty
             and not _answered(found.fields[name]) and not (enough and name in rules.one_suffices)
             and not (bare and name.startswith("accelerator_"))]
    if empty:
        yield catalogued("system-answers", f"expected an answer in {_listed(empty)}, found none", found.path,
                         severity="warning")


def _answered(value: Json) -> bool:
    return bool(value.strip()) if isinstance(value, str) else value not in (None, [], {})


def _known(round_: Round, status: Json) -> bool:
    return isinstance(status, str) and category(round_, status) is not None


def _brief(value: Json) -> str:
    """A value in a message; an object or list, which may be nested deeply, by its kind."""
    return "an object" if isinstance(value, Mapping) else "a list" if isinstance(value, list) else shown(value)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _leniently(text: str) -> dict[str, Json]:
    """The fields of a text that is no JSON: without commas too many, else line by line."""
    try:
        data = json.loads(_TRAILING_COMMA.sub(lambda match: match[1] or "", text))
        if isinstance(data, dict):
            return cast(dict[str, Json], data)
    except (ValueError, RecursionError):
        pass
    matches = (_LINE.fullmatch(line) for line in text.splitlines())
    fields: dict[str, Json] = {}
    for match in matches:
        if match and match[1] not in fields:
            fields[match[1]] = _value(match[2])
    return fields


def _value(text: str) -> Json:
    try:
        return cast(Json, json.loads(text))
    except ValueError:
        return text.strip('"')
