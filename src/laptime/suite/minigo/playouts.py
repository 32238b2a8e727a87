"""How many playouts per second: the lock-step search beside the plain Python one, turn by turn in one process.

`python -m laptime.suite.minigo.playouts [TABLE]` writes the committed table. A playout is one visit of a root. Both
sides have the board, network weights and settings of mini; the plain side searches one game and asks the network about
one position at a time, or, to compare the engines alone, neither asks anybody.
"""

import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import process_time

import numpy as np
import torch

from laptime.suite.minigo import plain
from laptime.suite.minigo.config import MinigoConfig, mini
from laptime.suite.minigo.features import Planes
from laptime.suite.minigo.player import Judged, Player, Table
from laptime.suite.minigo.selfplay import Searches
from laptime.suite.minigo.start import untrained
from laptime.suite.minigo.tree import Forest, Judge
from laptime.training.seeds import Seeds

SLOTS, READOUTS, MOVES = 64, 32, 6  # games in lock-step; readouts per move; moves per timed block
REPEATS = 5  # interleaved pairs
TABLE = Path(__file__).parent / "playouts.csv"


def nobody(planes: Planes) -> Judged:
    """Even priors and values, for the engine alone."""
    moves = planes.shape[2] + 1
    return np.full((len(planes), moves), 1 / moves, np.float32), np.zeros(len(planes), np.float32)


def lockstep(config: MinigoConfig, judge: Judge) -> float:
    """Playouts per CPU second of `SLOTS` games; each plays its most visited move."""
    forest, slots = Forest(config.game, config.search, config.model.planes, SLOTS), np.arange(SLOTS)
    forest.reset(slots)
    searches, done, started = Searches(forest, judge, lambda opened: None), 0.0, process_time()
    for _ in range(MOVES):
        searches.begin(slots, READOUTS)
        before, waiting = forest.totals(slots), slots
        while len(waiting):
            waiting = np.setdiff1d(waiting, searches.round(waiting))
        done += float((forest.totals(slots) - before).sum())
        forest.advance(slots, forest.counts(slots).argmax(axis=1))
    return done / (process_time() - started)


def plainly(config: MinigoConfig, judge: plain.Judge) -> float:
    """Playouts per CPU second of one game in plain Python."""
    game = plain.Game(config.game.size, config.game.komi, move_limit=config.game.move_limit)
    tree = plain.Search(game, judge, plain.Settings(pass_from=config.game.pass_from))
    done, started = 0.0, process_time()
    for _ in range(MOVES):
        before = tree.root.visits
        counts = tree.search(READOUTS)
        done += tree.root.visits - before
        tree.advance(max(counts, key=lambda move: counts[move]))
    return done / (process_time() - started)


def plain_judge(config: MinigoConfig, player: Player) -> plain.Judge:
    """The network asked about one position, its planes made by plain loops (history, colour, liberties, captures)."""
    size = config.game.size

    def judge(game: plain.Game) -> tuple[list[float], float]:
        planes, board = np.zeros((1, 13, size * size), np.uint8), game.boards[-1]
        for age, past in enumerate(reversed(game.boards[-4:])):
            planes[0, 2 * age] = [stone == game.turn for stone in past]
            planes[0, 2 * age + 1] = [stone == -game.turn for stone in past]
        planes[0, 8] = game.turn == 1
        for point, stone in enumerate(board):
            if stone:
                free = plain.liberties(size, board, point)
                planes[0, 8 + min(free, 3), point] = 1
                if free == 1 and stone == -game.turn:
                    planes[0, 12, list(plain.chain_of(size, board, point)[1])] = 1
        planes[0, 12] &= np.array([stone == 0 for stone in board], np.uint8)
        priors, values = player(planes)
        return priors[0].tolist(), float(values[0])

    return judge


def measure() -> list[tuple[str, float, float, float]]:
    """(what, lock-step playouts/s, plain playouts/s, ratio), medians of interleaved pairs."""
    config = replace(mini(), search=replace(mini().search, turned_inference=False))
    model = untrained(config, Seeds(1), "playouts")
    batched, single = Player(model, config.game.size, config.search.batch), Player(model, config.game.size, 1)
    even = nobody(np.zeros((1, 13, config.game.size ** 2), np.uint8))

    def both(ours: Callable[[], float], theirs: Callable[[], float]) -> tuple[float, float, float]:
        pairs = [(ours(), theirs()) for _ in range(REPEATS)]
        return (statistics.median(one for one, _ in pairs), statistics.median(other for _, other in pairs),
                statistics.median(one / other for one, other in pairs))

    with_network = both(lambda: lockstep(config, Table([batched], SLOTS, None)),
                        lambda: plainly(config, plain_judge(config, single)))
    alone = both(lambda: lockstep(config, lambda planes, hashes, slots: nobody(planes)),
                 lambda: plainly(config, lambda game: (even[0][0].tolist(), 0.0)))
    return [("with the network", *with_network), ("engine alone", *alone)]


def main(table: Path) -> None:
    """Write the table."""
    torch.set_num_threads(1)
    rows = "".join(f"{what},{ours:.0f},{theirs:.0f},{ratio:.1f}\n" for what, ours, theirs, ratio in measure())
    table.write_text("what,lockstep playouts/s,plain playouts/s,ratio\n" + rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TABLE)
