"""Our own judge asked about a log: for tests in folders that may not import it."""

from laptime.compliance.result import judge_log


def errors(path, *, round_name=None, level="rules"):
    """The errors found in a log, as lines of text."""
    return [found.text() for found in judge_log(path, round_name=round_name, level=level).findings if found.severity == "error"]


def accepted(path, round_name):
    """Whether the official checker accepts a log; the test is skipped where it is not installed."""
    from official import verdict

    return verdict(path, round_name) == "pass"
