"""Configurations of Mini Go: `full` is the 19x19 reference (v0.7 to v2.1), `v0_6` and `v0_5` the 9x9 ones. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from laptime.config import Parallel, Speed
from laptime.errors import InvalidConfiguration


@dataclass(frozen=True)
class GameConfig:
    """Rules of play. `move_limit` 0: none; `pass_from`: number of moves before which nobody passes if he need not."""

    size: int = 19
    komi: float = 7.5
    superko: bool = True  # positional; False: only a single stone may not be taken back at once
    move_limit: int = 0
    pass_alive: bool = True  # a game in which every point is settled for good is finished by passes
    pass_from: int = 0


@dataclass(frozen=True)
class SearchConfig:
    """Tree search while games are played for training. Defaults: reference flags of v0.7."""

    readouts: int = 800
    fast_readouts: int = 80
    fast_share: float = 0.75  # of moves; never the first of a game
    leaves: int = 4  # chosen per game before the network is asked ("virtual losses")
    noise_alpha: float = 0.03
    noise_share: float = 0.30
    noise_on_legal: bool = True  # False (v0.5): over all moves
    value_penalty: float = 0.2  # taken from a node's value where its children begin
    exploration: float = 0.0  # fixed constant; 0: the growing one
    answer_pass: bool = False  # a pass is the first answer to a pass
    mask_priors: bool = True  # priors of illegal moves are removed
    count_at_selection: bool = False
    soft_moves: int = 30  # moves of a game that are drawn by visits
    soft_exponent: float = 0.98
    soft_pass: bool = False  # whether a pass may be drawn
    prune_targets: bool = True
    draw_pruned: bool = False  # whether moves, too, are chosen by the visits that pruning leaves
    clear: bool = True  # the tree is forgotten before a full search
    resign_low: float = -1.0  # resignation below a value drawn per game from [low, high)
    resign_high: float = -0.9
    resign_never: float = 0.0  # share of games without resignation
    settle_after_passes: int = 4  # passes of the other side in a row; then no moves in settled areas
    target_exponent: float = 1.0  # of visits in the training targets of those moves
    turned_inference: bool = True  # a random symmetry for each position
    batch: int = 1024  # positions per call of the network: always so many, padded


@dataclass(frozen=True)
class MatchConfig:
    """Games against the opponent (off the clock), or between generations."""

    games: int = 256
    readouts: int = 100
    opening_moves: int = 0  # random moves before each pair of games with colours exchanged


@dataclass(frozen=True)
class GateConfig:
    """A new generation plays itself into use. `games` 0: always the newest."""

    games: int = 0
    readouts: int = 200
    rate: float = 0.55


@dataclass(frozen=True)
class MovesConfig:
    """Prediction of professional moves (v0.5)."""

    games: int = 4  # the reference's
    readouts: int = 1000
    leaves: int = 4
    repeats: int = 2


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    planes: Literal["agz", "mlperf07"] = "mlperf07"
    width: int = 64
    blocks: int = 6
    value_hidden: int = 64
    convolution_bias: bool = False
    norm_momentum: float = 0.05  # weight of the new value; the reference's 0.95 is that of the old one
    norm_epsilon: float = 1e-5


@dataclass(frozen=True)
class OptimizerConfig:
    """SGD with momentum; `rates[i]` holds until step `boundaries[i]`."""

    rates: tuple[float, ...] = (0.016, 0.16, 0.016, 0.0016)
    boundaries: tuple[int, ...] = (128, 10000, 20000)
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay_beta: bool = False  # v0.5: whether the shift of batch norm is decayed
    value_cost: float = 0.5


@dataclass(frozen=True)
class DataConfig:
    """Self-play and what is trained on. `window`: generations; `examples` per generation, 0: `share` of the window."""

    games: int = 8192  # of a generation
    slots: int = 256  # games in lock-step per process
    selfplay: Literal["lockstep", "continuous"] = "lockstep"  # continuous: beside training (`continuous.py`)
    max_age: int = 3  # where play is continuous: no position by a network so many generations older than its game's end
    window: int = 5
    window_examples: int = 0  # 0: all of the window
    share: float = 0.3
    examples: int = 0
    passes: int = 1
    holdout: float = 0.0  # share of games that are not trained on
    generations: int = 100
    evaluation: Literal["match", "moves"] = "match"
    start: bool = True  # from a supplied checkpoint and supplied games
    # planted faults:
    flip_values: bool = False  # winner and loser are exchanged
    still_policy: bool = False  # symmetries turn boards, but not the moves that belong to them
    uniform_targets: bool = False
    stale_players: bool = False  # self-play goes on with the starting network
    # only where the supplied files are made here:
    opponent: Literal["supplied", "untrained"] = "supplied"
    start_generations: int = 0
    start_low: float = 0.0  # window for the win rate of the starting checkpoint
    start_high: float = 1.0


@dataclass(frozen=True)
class MinigoConfig:
    """Everything about a run. `norm_span`: examples per group of batch norm."""

    global_batch_size: int = 4096
    norm_span: int = 64  # ours: no published file says how a batch of the reference is spread
    game: GameConfig = field(default_factory=GameConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    match: MatchConfig = field(default_factory=MatchConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    moves: MovesConfig = field(default_factory=MovesConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    parallel: Parallel = field(default_factory=Parallel)
    speed: Speed = field(default_factory=Speed)


def full() -> MinigoConfig:
    """The reference of v0.7 to v2.1: 19x19, 8192 games per generation."""
    return MinigoConfig()


def v0_6() -> MinigoConfig:
    """9x9, win rate against a checkpoint (reference of v0.6)."""
    reference = full()
    return replace(
        reference,
        game=GameConfig(size=9, move_limit=162, pass_alive=False),
        search=SearchConfig(readouts=240, fast_share=0.0, leaves=8, noise_alpha=0.03 * 361 / 81, noise_share=0.25,
                            answer_pass=True, soft_moves=6, soft_pass=True, prune_targets=False, clear=False,
                            resign_low=-0.99, resign_high=-0.99, resign_never=0.1, settle_after_passes=0,
                            turned_inference=True),
        match=MatchConfig(games=100, readouts=240),
        gate=GateConfig(games=100, readouts=240, rate=0.49),
        model=ModelConfig(planes="agz", width=32, blocks=9),
        optimizer=OptimizerConfig(rates=(0.16, 0.016, 0.0016), boundaries=(25000, 37500), value_cost=0.25),
        data=DataConfig(games=4096, window=10, share=0.5, holdout=0.03, generations=50),
    )


def v0_5() -> MinigoConfig:
    """9x9 from random weights, prediction of professional moves (reference of v0.5)."""
    later = v0_6()
    return replace(
        later,
        global_batch_size=16,
        norm_span=16,
        game=GameConfig(size=9, superko=False, move_limit=113, pass_alive=False),
        search=replace(later.search, readouts=200, noise_on_legal=False, value_penalty=0.0, exploration=1.38,
                       mask_priors=False, count_at_selection=True, soft_moves=7, soft_exponent=1.0,
                       target_exponent=0.95, resign_low=-0.95, resign_high=-0.95, resign_never=0.05),
        gate=GateConfig(games=100, readouts=200, rate=0.55),
        model=replace(later.model, convolution_bias=True, norm_momentum=0.003),
        optimizer=OptimizerConfig(rates=(0.01, 0.001, 0.0001), boundaries=(1_000_000, 2_000_000), decay_beta=True,
                                  value_cost=1.0),
        data=DataConfig(games=2000, window=1000, window_examples=2_000_000, examples=100_000, generations=1000,
                        evaluation="moves", start=False),
    )


def mini() -> MinigoConfig:
    """Two CPU cores, about a minute: 5x5, few readouts, a small network."""
    reference = full()
    return replace(
        reference,
        global_batch_size=128,
        norm_span=128,
        game=GameConfig(size=5, move_limit=50, pass_from=25),
        search=replace(reference.search, readouts=32, fast_readouts=8, noise_alpha=0.03 * 361 / 25,
                       soft_moves=4, draw_pruned=True, resign_low=-2.0, resign_high=-2.0, batch=128),
        match=MatchConfig(games=64, readouts=8, opening_moves=3),
        model=replace(reference.model, width=16, blocks=2, value_hidden=16),
        optimizer=replace(reference.optimizer, rates=(0.07,), boundaries=()),
        data=DataConfig(games=48, slots=48, window=4, share=1.0, passes=4, generations=16, start_generations=4,
                        start_low=0.02, start_high=0.35),
    )


def smoke() -> MinigoConfig:
    """A few seconds on one core: 4x4, against a network that has learnt nothing. Proves the chain, not the strength."""
    small = mini()
    return replace(
        small,
        global_batch_size=32,
        norm_span=16,
        game=replace(small.game, size=4, move_limit=32, pass_from=16),
        search=replace(small.search, readouts=8, fast_readouts=4, noise_alpha=0.03 * 361 / 16, batch=32),
        match=replace(small.match, games=16, readouts=4),
        model=replace(small.model, width=8, blocks=1, value_hidden=8),
        data=replace(small.data, games=8, slots=8, window=2, generations=3, start_generations=2, opponent="untrained",
                     start_low=0.0, start_high=1.0),
    )


PRESETS: Mapping[str, Callable[[], MinigoConfig]] = {"full": full, "v0.5": v0_5, "v0.6": v0_6, "mini": mini,
                                                    "smoke": smoke}

# Planted faults: what a target must tell apart from sound training (`laptime rcp faults`).
FAULTS: Mapping[str, tuple[str, ...]] = {
    "winner and loser exchanged": ("data.flip_values=true",),
    "value head not trained": ("optimizer.value_cost=0",),
    "batch norm statistics left as they were": ("model.norm_momentum=0",),
    "learning rate x 0.05": (f"optimizer.rates={mini().optimizer.rates[0] / 20:g}",),
    "learning rate x 20": (f"optimizer.rates={mini().optimizer.rates[0] * 20:g}",),
}


def validate(config: MinigoConfig, processes: int) -> None:
    """Raises InvalidConfiguration for what cannot be run on `processes` processes, before anything is built."""
    shares = processes * config.parallel.accumulation_steps
    _expect(config.parallel.accumulation_steps >= 1 and config.global_batch_size >= 1
            and config.global_batch_size % shares == 0,
            f"a global_batch_size divisible by processes x accumulation_steps = {shares}", config.global_batch_size)
    _check_game(config.game)
    _check_search(config.search)
    _check_data(config.data)
    match, moves = config.match, config.moves
    _expect(min(match.games, match.readouts, *vars(moves).values()) >= 1 and
            0 <= match.opening_moves < config.game.size**2 // 2,
            "match.games, match.readouts and moves.* of at least 1, and match.opening_moves of less than half a board",
            f"{match} and {moves}")
    model, optimizer = config.model, config.optimizer
    _expect(min(model.width, model.blocks, model.value_hidden) >= 1, "model sizes of at least 1",
            f"{model.width}, {model.blocks}, {model.value_hidden}")
    _expect(len(optimizer.rates) == len(optimizer.boundaries) + 1
            and list(optimizer.boundaries) == sorted(optimizer.boundaries),
            "one more of optimizer.rates than of increasing optimizer.boundaries",
            f"{optimizer.rates} and {optimizer.boundaries}")
    _expect(0 <= optimizer.momentum < 1, "optimizer.momentum in [0, 1)", optimizer.momentum)


def _check_game(game: GameConfig) -> None:
    _expect(2 <= game.size <= 25, "game.size from 2 to 25", game.size)
    _expect(game.move_limit >= 0 and game.pass_from >= 0, "game.move_limit and game.pass_from of at least 0",
            f"{game.move_limit} and {game.pass_from}")


def _check_search(search: SearchConfig) -> None:
    _expect(min(search.readouts, search.fast_readouts, search.leaves, search.batch) >= 1,
            "search.readouts, search.fast_readouts, search.leaves and search.batch of at least 1",
            f"{search.readouts}, {search.fast_readouts}, {search.leaves} and {search.batch}")
    _expect(0 <= search.fast_share < 1 and 0 <= search.noise_share <= 1 and search.noise_alpha > 0,
            "search.fast_share in [0, 1), search.noise_share in [0, 1], search.noise_alpha > 0",
            f"{search.fast_share}, {search.noise_share} and {search.noise_alpha}")


def _check_data(data: DataConfig) -> None:
    _expect(min(data.games, data.slots, data.window, data.passes, data.generations) >= 1,
            "data.games, data.slots, data.window, data.passes and data.generations of at least 1",
            f"{data.games}, {data.slots}, {data.window}, {data.passes} and {data.generations}")
    _expect(data.max_age >= 0, "data.max_age of at least 0", data.max_age)
    _expect(0 < data.share <= 1 and 0 <= data.holdout < 1, "data.share in (0, 1] and data.holdout in [0, 1)",
            f"{data.share} and {data.holdout}")


def _expect(holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise InvalidConfiguration(f"expected {expected}, found {found}")
