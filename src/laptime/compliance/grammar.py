"""What the reader could not read, and logs that are none."""

from collections.abc import Iterator

from laptime.compliance.finding import Finding
from laptime.compliance.run import Run


def check_grammar(run: Run) -> Iterator[Finding]:
    for problem in run.log.problems:
        if problem.harmless:
            yield run.finding("log-odd", problem.text, problem.line, "warning")
        else:
            yield run.finding("log-grammar", problem.text, problem.line)
    if not run.log.records:
        yield run.finding("log-empty", "no log lines found")
    elif run.log.dialect != run.round.dialect:
        yield run.finding("log-dialect", f"the log is in the {run.log.dialect} dialect, "
                                         f"round {run.round.name} uses {run.round.dialect}")
