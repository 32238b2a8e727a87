"""Makes the opponent of the small board: `python -m laptime.suite.minigo.opponent [FOLDER]`.

The opponent defines the target of mini, so its file is part of the repository and is not made again on each machine.
"""

import sys
from pathlib import Path

from laptime.suite.minigo.config import mini
from laptime.suite.minigo.published import write_network
from laptime.suite.minigo.start import OPPONENT_FOLDER, trained

SEED, GENERATIONS = 361, 10  # of the run that made the committed file


def main(folder: Path) -> None:
    """Write a checkpoint of a network that has learnt for `GENERATIONS` generations of mini."""
    write_network(trained(mini(), SEED, GENERATIONS).model, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else OPPONENT_FOLDER)
