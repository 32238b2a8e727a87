"""What the reader could not read, and logs that are none."""

from collections.abc import Iterator

from laptime.compliance.finding import Finding
from laptime.compliance.run import catalogued
from laptime.log.read import Log
from laptime.rules.model import Round


def check_grammar(log: Log, round_: Round) -> Iterator[Finding]:
    for problem in log.problems:
        if problem.harmless:
            yield catalogued("log-odd", problem.text, log.path, problem.line, "warning")
        else:
            yield catalogued("log-grammar", problem.text, log.path, problem.line)
    if not log.records:
        yield catalogued("log-empty", "no log lines found", log.path)
    elif log.dialect != round_.dialect:
        yield catalogued("log-dialect", f"the log is in the {log.dialect} dialect, "
                                        f"round {round_.name} uses {round_.dialect}", log.path)
