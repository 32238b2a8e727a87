"""What a check has to say: a finding, printed as a compiler would; and text of logs made fit to be shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from laptime.config import Json

Severity = Literal["error", "warning", "note"]
Level = Literal["official", "rules"]  # judge as the official checker does, or as the rules text asks


@dataclass(frozen=True)
class Finding:
    """One departure from a rule. `line`: 1-based, 0 where none can be named; `fix`: what to do, one sentence."""

    rule: str
    severity: Severity
    message: str
    path: Path
    line: int = 0
    source: str = ""
    fix: str = ""

    def text(self) -> str:
        """One printable line: result_0.txt:17: error opt_name-closed: opt_name is 'adam', expected ... (source)"""
        place = f"{self.path.name}:{self.line}" if self.line else self.path.name
        source = f" ({self.source})" if self.source else ""
        line = f"{place}: {self.severity} {self.rule}: {self.message}{source}"
        return printable(line)

    def to_json(self) -> Mapping[str, Json]:
        return {"rule": self.rule, "severity": self.severity, "message": self.message, "path": str(self.path),
                "line": self.line, "source": self.source, "fix": self.fix}


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
