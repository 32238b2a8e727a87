"""Games in lock-step, matches, and the prediction of professional moves; SGF files."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from laptime.config import override
from laptime.errors import DataProblem
from laptime.suite.minigo import plain, sgf
from laptime.suite.minigo.config import smoke, v0_5
from laptime.suite.minigo.model import DualNetwork, initialise
from laptime.suite.minigo.player import Player
from laptime.suite.minigo.predict import right_moves
from laptime.suite.minigo.selfplay import SelfPlay, match
from laptime.suite.minigo.shortcuts import Rule, uniform
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
TINY = override(smoke(), ["game.size=4", "game.move_limit=24", "game.pass_from=8", "search.readouts=6", "search.fast_readouts=3",
                          "search.fast_share=0.5"])


def player(config=TINY, seed=0):
    model = DualNetwork(config.model, config.game.size, config.norm_span, ALONE)
    initialise(model, torch.Generator().manual_seed(seed))
    return Player(model, config.game.size, config.search.batch)


def draws(number):
    return Seeds(5).numpy("game", number)


def games(config, numbers, who=None):
    return SelfPlay(config, who or player(config), draws).play(numbers)


def same(one, other):
    return (one.number, one.moves, one.outcome, one.resigned) == (other.number, other.moves, other.outcome, other.resigned) \
        and np.array_equal(one.planes, other.planes) and np.array_equal(one.policy, other.policy)


def test_a_game_does_not_depend_on_slots_or_on_the_games_beside_it():
    who = player()
    together = games(TINY, list(range(6)), who)
    for slots in (1, 4):
        again = games(override(TINY, [f"data.slots={slots}"]), [5, 3, 0], who)
        assert [one.number for one in again] == [5, 3, 0]
        assert all(same(one, together[one.number]) for one in again)


def test_games_obey_the_rules_and_are_scored_by_area():
    for one in games(TINY, list(range(8))):
        game = plain.Game(4, 7.5, move_limit=24)
        for place, move in enumerate(one.moves):
            assert not game.over
            assert game.allowed(move)
            options = [p for p in range(16) if game.allowed(p)]
            assert move < 16 or place >= 8 or not options
            game = game.play(move)
        assert one.outcome == game.winner()


def test_recorded_positions_are_those_of_full_searches_and_targets_are_distributions():
    fast = games(override(TINY, ["search.fast_share=0.999999"]), [0, 1])
    assert [len(one.planes) for one in fast] == [1, 1]  # the first move of a game is never fast
    for one in games(override(TINY, ["search.fast_share=0"]), [0, 1]):
        assert len(one.planes) == len(one.moves)
        assert one.policy.sum(axis=1) == pytest.approx(1, abs=1e-6)
        assert one.planes[0, :8].sum() == 0
        assert one.planes[::2, 8].all()
        assert not one.planes[1::2, 8].any()


def test_a_player_that_believes_it_has_lost_resigns_unless_it_may_not():
    def hopeless(planes):
        priors, _ = uniform(planes)
        return priors, np.full(len(planes), -1, np.float32)  # Black has lost, whoever is to play

    config = override(TINY, ["search.resign_low=-0.5", "search.resign_high=-0.4"])
    lost = games(config, [0, 1], Rule(4, hopeless))
    assert all(one.resigned and one.moves == [] and one.outcome == -1 for one in lost)
    assert all(len(one.planes) == 0 for one in lost)  # no move was chosen there: nothing to learn
    never = games(override(config, ["search.resign_never=1.0"]), [0], Rule(4, hopeless))
    assert not never[0].resigned
    assert len(never[0].planes) > 0


def test_pruning_changes_targets_and_moves_only_where_that_is_asked_for():
    config = override(TINY, ["search.fast_share=0", "search.readouts=16", "search.soft_moves=24"])
    assert not config.search.prune_targets or config.search.draw_pruned  # as the small sizes were calibrated
    plainly, pruned, drawn = (games(override(config, [f"search.prune_targets={prune}", f"search.draw_pruned={draw}"]), [0, 1])
                              for prune, draw in ((False, False), (True, False), (True, True)))
    assert [one.moves for one in plainly] == [one.moves for one in pruned] != [one.moves for one in drawn]
    assert all(not np.array_equal(a.policy, b.policy) for a, b in zip(plainly, pruned, strict=True))


def test_the_first_player_has_black_in_games_with_even_numbers():
    """Under a komi that gives every game to White, it wins those with odd numbers."""
    config = override(TINY, ["game.komi=100"])
    assert match(config, (player(config, 1), player(config, 2)), draws, [0, 1, 2, 3, 5], 2) == [False, True, False, True, True]


def test_a_match_of_a_player_with_itself_is_even_over_pairs_of_one_opening():
    """With the same opening and colours exchanged, two equal players win one game of each pair."""
    config = override(TINY, ["search.turned_inference=false", "match.opening_moves=2"])
    who = player(config)
    won = match(config, (who, who), draws, list(range(8)), 4)
    assert all(won[i] != won[i + 1] for i in range(0, 8, 2))


def test_a_match_does_not_depend_on_how_its_games_are_shared_out():
    config = override(TINY, ["match.opening_moves=2"])
    pair = (player(config, 1), player(config, 2))
    whole = match(config, pair, draws, list(range(8)), 4)
    parts = match(config, pair, draws, [0, 1, 4, 5], 4), match(config, pair, draws, [2, 3, 6, 7], 4)
    assert whole == [*parts[0][:2], *parts[1][:2], *parts[0][2:], *parts[1][2:]]
    assert match(config, pair[::-1], draws, list(range(8)), 4) != whole


def test_more_search_wins_more_games():
    config = override(TINY, ["game.size=5", "game.pass_from=20", "game.move_limit=45", "match.opening_moves=2"])
    won = match(config, (Rule(5, uniform), Rule(5, lambda planes: (np.eye(26, dtype=np.float32)[planes.sum(axis=(1, 2)) % 25],
                                                                   np.zeros(len(planes), np.float32)))), draws, list(range(16)), 40)
    assert sum(won) >= 10


def test_professional_moves_found_are_those_that_the_search_prefers():
    """A player that always looks at one point first finds the moves at that point, and only those."""
    def corner(planes):
        priors = np.full((len(planes), 82), 1e-4, np.float32)
        priors[:, 40] = 1
        return priors, np.zeros(len(planes), np.float32)

    config = replace(v0_5(), moves=replace(v0_5().moves, readouts=8, repeats=2))
    asked = [[40, 70, 71], [70, 40]]
    everything = right_moves(config, Rule(9, corner), asked, slice(None), np.random.default_rng(0))
    assert everything == (2 * 2, 2 * 5)
    shares = [right_moves(config, Rule(9, corner), asked, slice(rank, None, 2), np.random.default_rng(0)) for rank in (0, 1)]
    assert tuple(map(sum, zip(*shares, strict=True))) == everything


# --- game records ---

GOOD = "(;FF[4]GM[1]SZ[9]KM[7.5]PB[A \\] B]C[a comment; with (marks)];B[ee];W[gc]C[good];B[])"


def record(tmp_path, text, name="game.sgf"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_moves_of_a_record_are_read(tmp_path):
    assert sgf.read(record(tmp_path, GOOD), 9) == [4 * 9 + 4, 2 * 9 + 6, 81]


def test_only_the_main_line_of_a_record_is_read(tmp_path):
    text = "(;SZ[9];B[aa];W[bb](;B[cc];W[tt])(;B[dd]))"
    assert sgf.read(record(tmp_path, text), 9) == [0, 10, 20, 81]


def test_older_spellings_of_names_are_read(tmp_path):
    assert sgf.read(record(tmp_path, "( ; SiZe[9] SZ[9]\n; Black[aa] ; White[ab] )".replace("SiZe[9] ", "")), 9) == [0, 9]


@pytest.mark.parametrize(("text", "says"), [
    ("", "does not begin"),
    ("hello", "does not begin"),
    (";B[aa]", "does not begin"),
    ("(;SZ[9];B[aa]", "cut short"),
    ("(;SZ[9];B[aa", "cut short"),
    ("(;SZ[19];B[aa])", "its board is '19'"),
    ("(;B[aa])", "does not say how large"),
    ("(;SZ[9];B[zz])", "no point of the board"),
    ("(;SZ[9];B[a])", "no point of the board"),
    ("(;SZ[9];B[aa];B[bb])", "two moves of B"),
    ("(;SZ[9];W[aa])", "two moves of W"),
    ("(;SZ[9]AB[aa][bb];W[cc])", "stones on the board"),
    ("(;SZ[9];[aa])", "without a name"),
    ("(;SZ[9];B[aa];W[aa])", "move 2 of .* is not legal"),
    ("(;SZ[9])", "expected moves"),
    (b"\xff\xfe\x00(;SZ[9])", "does not begin"),
    ("(" * 50000, "cut short"),
])
def test_a_bad_record_is_refused_and_named(tmp_path, text, says):
    with pytest.raises(DataProblem, match=says) as problem:
        sgf.read(record(tmp_path, text), 9)
    assert "game.sgf" in str(problem.value)
    assert problem.value.hint


def test_a_missing_and_an_endless_record_are_refused(tmp_path):
    with pytest.raises(DataProblem, match="cannot read"):
        sgf.read(tmp_path / "none.sgf", 9)
    with pytest.raises(DataProblem, match="at most"):
        sgf.read(record(tmp_path, b"(;SZ[9]" + b" " * (2 << 20)), 9)
