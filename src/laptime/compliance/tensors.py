"""Tensors whose initialisation a round wants logged: the names must be the list, each once (log facts, section 3.3)."""

from collections import Counter
from collections.abc import Iterable, Iterator

from laptime.compliance.finding import Finding
from laptime.compliance.run import Run


def check_tensors(run: Run) -> Iterator[Finding]:
    if not run.rules.tensors or run.division != "closed":
        return
    records = run.of("weights_initialization")
    logged = Counter(str(record.metadata["tensor"]) for record in records if "tensor" in record.metadata)
    listed = Counter(run.rules.tensors)
    for fault, names in (("missing", listed - logged), ("not expected, or too often", logged - listed)):
        if names and records:  # no line at all is found by the count of the key
            line = next((r.line for r in records if str(r.metadata.get("tensor")) in names), 0)
            yield run.finding("tensors", f"{names.total()} of {listed.total()} tensors {fault}: {_some(names)}", line)


def _some(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")
