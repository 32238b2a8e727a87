"""What goes wrong for a user, and with which exit code. Knows nothing else."""

from typing import Final

FINE: Final = 0
FINDINGS: Final = 1
WRONG_USE: Final = 2
NOT_CONVERGED: Final = 3
RUN_FAILED: Final = 4
INTERRUPTED: Final = 130  # as shells report SIGINT
TERMINATED: Final = 143  # as shells report SIGTERM


class UserError(Exception):
    """One line for the user: what was expected, what was found, where, and what to do.

    `hint` is printed on a line of its own; `exit_code` is what the program returns.
    """

    exit_code: int = WRONG_USE

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UnknownName(UserError):
    """A benchmark, round, option or setting that does not exist."""


class InvalidConfiguration(UserError):
    """A configuration value that cannot be run."""


class DataProblem(UserError):
    """A data set that is missing, incomplete or damaged."""


class DataTouchedTooEarly(UserError):
    """Something reached for the data set before the clock ran."""

    exit_code = RUN_FAILED


class IllegalRun(UserError):
    """A closed-division run whose live hyperparameters break the rules of its round."""

    exit_code = FINDINGS


class Incomplete(UserError):
    """Something that was stopped before it was whole. `exit_code`: as the stop asks for."""

    def __init__(self, message: str, *, exit_code: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class RunFailed(UserError):
    """A run that ended without an outcome: killed, out of memory, disk full."""

    exit_code = RUN_FAILED
