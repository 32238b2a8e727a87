"""Where facts about a machine come from: files under a root folder and short commands. What is missing is empty."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Runner = Callable[[Sequence[str]], str]
PATIENCE_S = 20  # a driver tool that hangs must not hang a run


def output(command: Sequence[str]) -> str:
    """What a command prints, without surrounding blanks; "" when it is missing, fails or takes too long."""
    program = shutil.which(command[0])
    if program is None:
        return ""
    try:
        done = subprocess.run([program, *command[1:]], capture_output=True, text=True, errors="replace",
                              timeout=PATIENCE_S, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


@dataclass(frozen=True)
class Sources:
    """A machine to look at. Tests give another root and another runner."""

    root: Path = Path("/")
    run: Runner = output

    def text(self, path: str) -> str:
        """The content of `root/path`, "" when it cannot be read."""
        try:
            return (self.root / path).read_text(errors="replace").strip()
        except OSError:
            return ""

    def number(self, path: str) -> int | None:
        """The whole number that a file holds, None when it holds none."""
        return whole(self.text(path))

    def children(self, path: str) -> list[str]:
        """Names in the folder `root/path`, sorted; empty when there is no such folder."""
        try:
            return sorted(child.name for child in (self.root / path).iterdir())
        except OSError:
            return []


def whole(text: str) -> int | None:
    """`text` as a whole number, None when it is none."""
    try:
        return int(text.strip())
    except ValueError:
        return None
