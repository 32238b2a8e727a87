"""The supplied networks and games of the small board: what the reference publishes for the large one, made here.

The starting network learns from its own games for some generations from a fixed seed; its last games are supplied too.
The opponent is a file of the repository, made once by `python -m laptime.suite.minigo.opponent`, because it defines the
target; at the smallest size it is a network that has learnt nothing. Untimed.
"""

import shutil
import tempfile
from pathlib import Path

from laptime.config import Speed
from laptime.errors import DataProblem
from laptime.suite.minigo import published
from laptime.suite.minigo.config import MinigoConfig
from laptime.suite.minigo.learner import Learner
from laptime.suite.minigo.model import DualNetwork, initialise
from laptime.suite.minigo.player import Player
from laptime.training.seeds import Seeds
from laptime.training.speed import resolve
from laptime.training.threads import one_thread

OPPONENT_FOLDER = Path(__file__).parent / "opponent"  # a checkpoint in the published format
NAME = "go-generated"


def recipe(config: MinigoConfig) -> str:
    """What generated data was made by: another recipe makes another data set."""
    data, search, game = config.data, config.search, config.game
    return (f"minigo 1, {game.size}x{game.size}, {config.model.planes} {config.model.width} x {config.model.blocks}, "
            f"{data.start_generations} generations of {data.games} games, {search.readouts}/{search.fast_readouts} "
            f"readouts, opponent {data.opponent}")


def generate(config: MinigoConfig, root: Path, seed: int) -> None:
    """Make the supplied files in their published form, then reformat them as `prepare` does. Raises DataProblem."""
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary)
        opponent = supply_opponent(config, source / published.TARGET, seed)
        learner = trained(config, seed)
        check_start(config, learner, opponent)
        published.write_network(learner.model, source / published.CHECKPOINT)
        for number, one in enumerate(learner.window.generations):
            published.write_generation(config, one, source / published.GAMES / f"{number:06d}")
        published.reformat(config, source, root, name=NAME, generator=recipe(config), facts={})


def untrained(config: MinigoConfig, seeds: Seeds, purpose: str) -> DualNetwork:
    model = published.blank(config)
    initialise(model, seeds.torch(purpose))
    return model


def trained(config: MinigoConfig, seed: int, generations: int = 0) -> Learner:
    """A learner after `generations` (0: those of the starting network) from random weights, on one thread."""
    seeds = Seeds(seed)
    with one_thread():
        learner = Learner(config, seeds, published.CPU, untrained(config, seeds, "start"),
                          resolve(Speed(), published.CPU.device))
        for generation in range(1, (generations or config.data.start_generations) + 1):
            learner.play(generation)
            for batch in learner.batches(generation):
                learner.step(batch)
    return learner


def supply_opponent(config: MinigoConfig, folder: Path, seed: int) -> Player:
    """Put the opponent where the published one lies; returns it as a player. Raises DataProblem where it is missing."""
    if config.data.opponent == "untrained":
        published.write_network(untrained(config, Seeds(seed), "opponent"), folder)
    elif not OPPONENT_FOLDER.is_dir():
        raise DataProblem(f"expected the opponent's network in {OPPONENT_FOLDER}, found none",
                          hint="Install the package again, or make it: python -m laptime.suite.minigo.opponent")
    else:
        shutil.copytree(OPPONENT_FOLDER, folder)
    model = published.blank(config)
    published.fill_network(model, config, folder)
    return Player(model, config.game.size, config.search.batch)


def check_start(config: MinigoConfig, learner: Learner, opponent: Player) -> None:
    """Raises DataProblem for a start that is weaker or stronger against the opponent than runs expect."""
    data = config.data
    if (data.start_low, data.start_high) == (0.0, 1.0):
        return
    rate = learner.win_rate((learner.player(), opponent), "start match", 0, config.match.games, config.match.readouts)
    if not data.start_low <= rate <= data.start_high:
        raise DataProblem(f"expected a starting network that wins {data.start_low:g} to {data.start_high:g} of its "
                          f"games against the opponent, found {rate:.3f}",
                          hint="Another torch or processor may need another data.start_generations.")
