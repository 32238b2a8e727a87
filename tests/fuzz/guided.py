"""Coverage-guided fuzzing of one target, for those who have atheris: `python tests/fuzz/guided.py read -max_total_time=60`.

The first word is a target of tests/support/fuzz_targets.py, the others are options of libFuzzer.
"""

import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

with atheris.instrument_imports(include=["laptime"]):
    from fuzz_targets import TARGETS


def main() -> None:
    target, seeds = TARGETS[sys.argv[1]]
    corpus = Path(tempfile.mkdtemp(prefix="laptime-corpus-"))
    for number, seed in enumerate(seeds()):
        (corpus / str(number)).write_bytes(seed)
    atheris.Setup([sys.argv[0], *sys.argv[2:], str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
