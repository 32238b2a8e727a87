"""What a check has to say: a finding, printed as a compiler would; and text of logs made fit to be shown."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from laptime.config import Json

Severity = Literal["error", "warning", "note"]
Level = Literal["official", "rules"]  # judge as the official checker does, or as the rules text asks
_CLAUSE = re.compile(r"[.;] ")


@dataclass(frozen=True)
class Cause:
    """The finding that another one follows from, by what names it."""

    rule: str
    path: Path
    line: int = 0

    def __str__(self) -> str:
        return f"{self.rule} ({_place(self.path, self.line)})"


@dataclass(frozen=True)
class Finding:
    """One departure from a rule. `line`: 1-based, 0 where none can be named; `fix`: what to do, one sentence.

    `message` says what was found and, in most cases, what was expected; `expected` says the latter in general;
    `because`: the finding this one follows from, None for a root.
    """

    rule: str
    severity: Severity
    message: str
    path: Path
    line: int = 0
    source: str = ""
    fix: str = ""
    expected: str = ""
    because: Cause | None = None

    @property
    def place(self) -> str:
        """Such as "result_0.txt:17"."""
        return _place(self.path, self.line)

    @property
    def said(self) -> str:
        """The message with what was expected in short, where it does not say so itself."""
        if not self.expected or "expected" in self.message:
            return self.message
        short = _CLAUSE.split(self.expected, maxsplit=1)[0].rstrip(".")
        return f"{self.message}; expected: {short[:1].lower()}{short[1:]}"

    def text(self) -> str:
        """One printable line: result_0.txt:17: error opt_name-closed: opt_name is 'adam', expected ... (source)"""
        source = f" ({self.source})" if self.source else ""
        return printable(f"{self.place}: {self.severity} {self.rule}: {self.said}{source}")

    def cause(self) -> Cause:
        """This finding as the cause of others."""
        return Cause(self.rule, self.path, self.line)

    def to_json(self) -> Mapping[str, Json]:
        because: Json = None if self.because is None else {
            "rule": self.because.rule, "path": str(self.because.path), "line": self.because.line}
        return {"rule": self.rule, "severity": self.severity, "message": self.message, "path": str(self.path),
                "line": self.line, "expected": self.expected, "source": self.source, "fix": self.fix,
                "because": because}


def printable(text: str) -> str:
    """`text` with everything that is no printable sign escaped: logs and file names may hold anything."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def shown(value: Json) -> str:
    """A logged value in a message, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = "a very large integer"
    return text if len(text) <= 40 else text[:37] + "..."


def _place(path: Path, line: int) -> str:
    return f"{path.name}:{line}" if line else path.name
