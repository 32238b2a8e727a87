"""The lock-step search against the plain one, visit by visit; its options by small cases; targets and moves."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from laptime.suite.minigo import choice, plain
from laptime.suite.minigo.config import GameConfig, SearchConfig, v0_5, v0_6
from laptime.suite.minigo.features import captures, inverses, planes, symmetries, turned_moves, turned_planes
from laptime.suite.minigo.tree import BARRED, Forest

GAME = GameConfig(size=5, move_limit=50, pass_from=10)
SEARCH = SearchConfig(readouts=20)


def guess(board, turn):
    """Priors and a value that depend on the position alone, without ties."""
    content = bytes(stone + 1 for stone in board) + bytes([turn + 1])
    draw = np.random.default_rng(np.frombuffer(hashlib.blake2b(content, digest_size=8).digest(), np.uint32))
    priors = draw.random(len(board) + 1).astype(np.float32) ** 3
    return priors / priors.sum(), np.float32(draw.random() * 2 - 1)


def judge(seen, hashes, slots):
    """What `guess` says of positions given as mlperf07 planes."""
    answers = []
    for one in seen:
        turn = 1 if one[8, 0] else -1
        answers.append(guess(((one[0].astype(int) - one[1]) * turn).tolist(), turn))
    return np.stack([priors for priors, _ in answers]), np.array([value for _, value in answers])


def plain_judge(game):
    priors, value = guess(game.boards[-1], game.turn)
    return [float(p) for p in priors], float(value)


def searched(forest, slots, readouts, ask=judge):
    """Search as self-play does: open the roots, then so many more readouts."""
    fresh = slots[~forest.expanded[forest.rows(slots)]]
    if len(fresh):
        forest.round(fresh, ask)
    target = forest.totals(slots) + readouts
    while (waiting := forest.totals(slots) < target).any():
        forest.round(slots[waiting], ask)
    return forest.counts(slots)


SEARCHES = {"v0.7": (SEARCH, plain.Settings()), "one leaf": (replace(SEARCH, leaves=1), plain.Settings(leaves=1)),
            "v0.6": (v0_6().search, plain.Settings.v0_6()), "v0.5": (v0_5().search, plain.Settings.v0_5())}


@pytest.mark.parametrize("name", SEARCHES)
def test_whole_games_have_the_visits_of_the_plain_search(name):
    """Priors, virtual losses, superko or ko, terminal positions, kept subtrees and forgotten ones, over whole games."""
    search, settings = SEARCHES[name]
    search, settings = replace(search, readouts=20), replace(settings, pass_from=10)
    game = replace(GAME, superko=name != "v0.5")
    forest, count = Forest(game, search, "mlperf07", 4), 4
    slots, draw, compared = np.arange(count), np.random.default_rng(1), 0
    forest.reset(slots)
    trees = [plain.Search(plain.Game(5, 7.5, simple_ko=not game.superko, move_limit=50), plain_judge, settings)
             for _ in range(count)]
    for number in range(50):
        slots = np.array([slot for slot in range(count) if not trees[slot].root.game.over], np.intp)
        if not len(slots):
            break
        counts = searched(forest, slots, 20)
        for slot, found in zip(slots.tolist(), counts, strict=True):
            expected = trees[slot].search(20)
            assert {move: int(found[move]) for move in expected} == expected
            assert found.sum() == sum(expected.values())
            compared += 1
        moves = np.array([draw.choice(26, p=one / one.sum()) for one in counts])
        forest.advance(slots, moves)
        for slot, move in zip(slots.tolist(), moves.tolist(), strict=True):
            trees[slot].advance(move)
        if number % 6 == 5:
            forest.clear(slots)
            trees = [plain.Search(tree.root.game, plain_judge, settings) for tree in trees]
    assert compared > 100


def test_visits_do_not_depend_on_the_trees_beside():
    def visits(count):
        forest = Forest(GAME, SEARCH, "mlperf07", count)
        forest.reset(np.arange(count))
        forest.advance(np.arange(count), np.array([3] * count))
        return searched(forest, np.arange(count), 30)[0].tolist()

    assert visits(1) == visits(7)


def test_a_forest_grows_and_compacts_without_changing_a_visit():
    small, large = (Forest(GAME, replace(SEARCH, readouts=readouts), "mlperf07", 2) for readouts in (1, 400))
    slots = np.arange(2)
    for forest in (small, large):
        forest.reset(slots)
    before = small.capacity
    for move in (12, 7, 11, 13, 16, 17):
        assert searched(small, slots, 60).tolist() == searched(large, slots, 60).tolist()
        for forest in (small, large):
            forest.advance(slots, np.array([move, move]))
    assert small.capacity > before
    small._compact(0)
    assert searched(small, slots, 20).tolist() == searched(large, slots, 20).tolist()


def test_an_early_pass_is_only_for_want_of_anything_else():
    forest = Forest(GAME, SEARCH, "mlperf07", 1)
    forest.reset(np.arange(1))
    searched(forest, np.arange(1), 1)
    assert not forest.allowed(np.arange(1))[0, 25]
    assert forest.sums[forest.rows(np.arange(1))[0], 25] == BARRED


def test_noise_is_a_blend_of_the_priors_at_the_root():
    forest = Forest(GAME, SEARCH, "mlperf07", 1)
    slots = np.arange(1)
    forest.reset(slots)
    forest.round(slots, judge)
    before = forest.prior[forest.rows(slots)].copy()
    noise = np.full((1, 26), 1 / 26)
    forest.mix(slots, noise, 0.25)
    assert np.allclose(forest.prior[forest.rows(slots)], 0.75 * before + 0.25 / 26)


def test_a_pass_is_the_first_answer_to_a_pass_where_the_reference_says_so():
    for answers in (True, False):
        forest = Forest(replace(GAME, pass_from=0), replace(SEARCH, answer_pass=answers, leaves=1), "mlperf07", 1)
        slots = np.arange(1)
        forest.reset(slots)
        forest.advance(slots, np.array([25]))
        forest.round(slots, lambda seen, hashes, where: (np.full((len(seen), 26), 1 / 26, np.float32),
                                                         np.zeros(len(seen), np.float32)))
        forest.round(slots, judge)
        assert bool(forest.counts(slots)[0, 25]) is answers


def test_a_first_value_counts_as_one_visit_and_starts_below_its_parent():
    forest = Forest(GAME, SEARCH, "mlperf07", 1)
    slots = np.arange(1)
    forest.reset(slots)
    forest.round(slots, lambda seen, hashes, where: (np.full((1, 26), 1 / 26, np.float32), np.array([0.5], np.float32)))
    row = forest.rows(slots)[0]
    assert forest.values(slots)[0] == pytest.approx(0.25)
    assert forest.sums[row, :25] == pytest.approx(0.3)
    forest.reset(slots)
    forest.round(slots, lambda seen, hashes, where: (np.full((1, 26), 1 / 26, np.float32), np.array([-0.9], np.float32)))
    assert forest.sums[row, :25] == pytest.approx(-1.0)


def test_visits_counted_at_selection_are_taken_back_for_repeated_leaves():
    search = replace(SEARCH, count_at_selection=True, exploration=1.38, leaves=8)
    forest = Forest(GAME, search, "mlperf07", 3)
    slots = np.arange(3)
    forest.reset(slots)
    for _ in range(6):
        forest.round(slots, judge)
    counts, totals = forest.counts(slots), forest.totals(slots)
    assert (counts.sum(axis=1) == totals - 1).all()
    nodes = [int((forest.total[slot * forest.capacity + 1:(slot * forest.capacity + int(forest.used[slot]))] > 0).sum())
             for slot in range(3)]
    assert nodes == totals.astype(int).tolist()


def test_exploration_grows_as_the_formula_says():
    forest = Forest(GAME, SEARCH, "mlperf07", 1)
    slots = np.arange(1)
    forest.reset(slots)
    searched(forest, slots, 40)
    row = forest.rows(slots)
    n, p, total = forest.visits[row][0], forest.prior[row][0], float(forest.total[row][0])
    constant = 2 * (np.log((1 + total + 19652) / 19652) + 1.25)
    expected = forest.sums[row][0] / (1 + n) + constant * p * np.sqrt(total - 1) / (1 + n)
    assert forest.scores(slots)[0] == pytest.approx(expected)


def pruned_by_hand(forest, slot=0):
    """The reference's formula, move by move."""
    row = forest.rows(np.array([slot]))[0]
    n, w, p, total = forest.visits[row], forest.sums[row], forest.prior[row], float(forest.total[row])
    turn, s = int(forest.turn[row]), 2 * (np.log((1 + total + 19652) / 19652) + 1.25)
    best = int(n.argmax())
    top = w[best] / (1 + n[best]) * turn + s * p[best] * np.sqrt(1 + total) / (1 + n[best])
    kept = []
    for move in range(len(n)):
        gap = w[move] / (1 + n[move]) * turn - top
        limit = -s * p[move] * np.sqrt(total) / gap if gap < 0 else 0
        kept.append(n[move] if move == best else max(0, min(n[move], int(limit))))
    return kept


def test_pruned_visits_are_those_of_the_formula():
    forest = Forest(GAME, SEARCH, "mlperf07", 3)
    slots = np.arange(3)
    forest.reset(slots)
    forest.advance(slots, np.array([0, 12, 6]))
    counts = searched(forest, slots, 60)
    found = choice.pruned(forest, slots)
    assert [row.tolist() for row in found] == [pruned_by_hand(forest, slot) for slot in range(3)]
    assert (found <= counts).all()
    assert found.sum() < counts.sum()


def test_targets_are_visits_raised_only_early_in_a_game():
    search = replace(SEARCH, soft_moves=6, target_exponent=0.5)
    found = choice.targets(search, np.array([[4.0, 1, 0], [4, 1, 0]]), np.array([5, 6]))
    assert found[0] == pytest.approx([2 / 3, 1 / 3, 0])
    assert found[1] == pytest.approx([0.8, 0.2, 0])


def test_ties_of_visits_go_to_the_higher_score():
    assert choice.most_visited(np.array([[3.0, 5, 5]]), np.array([[9.0, 1, 2]])).tolist() == [2]


def test_drawn_moves_follow_visits_and_never_are_passes():
    weights = np.array([6.0, 0, 2, 50])
    exact = replace(SEARCH, soft_exponent=1.0)
    found = [choice.drawn(exact, weights.copy(), u) for u in (0.0, 0.7499, 0.7501, 0.999)]
    assert found == [0, 0, 2, 2]
    assert choice.drawn(exact, np.array([0.0, 0, 0, 5]), 0.5) is None
    assert choice.drawn(replace(exact, soft_pass=True), weights.copy(), 0.9) == 3


def test_four_passes_in_a_row_latch_the_rule_for_the_other_side():
    rows = choice.PassRows(1, 4)
    slot, black = np.array([0]), np.array([0])
    for passed in (True, True, True, False, True, True, True, True, False):
        rows.played(slot, black, np.array([passed]))
    assert rows.against(slot, np.array([1])).tolist() == [True]
    assert rows.against(slot, np.array([0])).tolist() == [False]


def test_settled_areas_are_left_alone_once_the_rule_is_in_force():
    forest = Forest(replace(GAME, pass_from=0), SEARCH, "mlperf07", 1)
    slots = np.arange(1)
    forest.reset(slots)
    for move in (1, 25, 3, 25, 5, 25, 6, 25, 7, 25, 8, 25):  # two eyes in the corner, at 0 and 2
        forest.advance(slots, np.array([move]))
    counts = np.ones((1, 26))
    free = choice.restricted(forest, slots, counts, np.array([True]))[0]
    assert free[[0, 2]].tolist() == [0, 0]
    assert free[[4, 10, 25]].tolist() == [1, 1, 1]
    assert choice.restricted(forest, slots, counts, np.array([False])).tolist() == counts.tolist()


def test_planes_tell_the_last_positions_liberties_and_captures():
    forest = Forest(replace(GAME, pass_from=0), SEARCH, "mlperf07", 1)
    slots = np.arange(1)
    forest.reset(slots)
    for move in (0, 12, 5, 1):  # Black 0, 5; White 12, 1
        forest.advance(slots, np.array([move]))
    found = planes("mlperf07", forest.boards(slots), forest.past(forest.rows(slots)))[0]
    assert found.shape == (13, 25)
    on = [np.flatnonzero(plane).tolist() for plane in found]
    assert on[:8] == [[0, 5], [1, 12], [0, 5], [12], [0], [12], [0], []]
    assert on[8] == list(range(25))
    assert on[9:12] == [[], [0, 1, 5], [12]]
    assert on[12] == []
    forest.advance(slots, np.array([25]))
    later = planes("mlperf07", forest.boards(slots), forest.past(forest.rows(slots)))[0]
    assert not later[8].any()
    assert np.flatnonzero(later[0]).tolist() == [1, 12]


def test_planes_of_the_older_kind_are_eight_positions_and_the_colour():
    forest = Forest(replace(GAME, pass_from=0), SEARCH, "agz", 1)
    slots = np.arange(1)
    forest.reset(slots)
    moves = list(range(0, 20, 2))  # no two beside each other: nothing is captured
    for move in moves:
        forest.advance(slots, np.array([move]))
    found = planes("agz", forest.boards(slots), forest.past(forest.rows(slots)))[0]
    for age in range(8):
        played = moves[:10 - age]
        assert np.flatnonzero(found[2 * age]).tolist() == played[0::2]
        assert np.flatnonzero(found[2 * age + 1]).tolist() == played[1::2]
    assert found[16].all()


def test_history_survives_forgetting_the_tree():
    forest = Forest(GAME, SEARCH, "mlperf07", 2)
    slots = np.arange(2)
    forest.reset(slots)
    for move in (0, 12, 5):
        forest.advance(slots, np.array([move, move + 1]))
    before = planes("mlperf07", forest.boards(slots), forest.past(forest.rows(slots)))
    searched(forest, slots, 20)
    forest.clear(slots)
    after = planes("mlperf07", forest.boards(slots), forest.past(forest.rows(slots)))
    assert (before == after).all()
    assert not forest.expanded[forest.rows(slots)].any()


def test_captures_are_points_beside_chains_in_atari():
    forest = Forest(replace(GAME, pass_from=0), SEARCH, "mlperf07", 1)
    slots = np.arange(1)
    forest.reset(slots)
    for move in (1, 0):
        forest.advance(slots, np.array([move]))
    boards = forest.boards(slots)
    assert np.flatnonzero(captures(boards, boards.liberties_at())[:, 0]).tolist() == [5]


@pytest.mark.parametrize("size", [3, 5])
def test_symmetries_are_the_eight_of_the_square_and_have_inverses(size):
    found = symmetries(size)
    assert len({tuple(one) for one in found.tolist()}) == 8
    assert found[0].tolist() == list(range(size * size))
    values = np.random.default_rng(0).random((8, size * size + 1)).astype(np.float32)
    which = np.arange(8)
    there = turned_moves(size, values, which)
    assert (turned_moves(size, there, which, back=True) == values).all()
    assert (there[:, -1] == values[:, -1]).all()
    assert inverses(size)[found.argsort(axis=1).tolist() == inverses(size).tolist()].size
    seen = np.arange(size * size, dtype=np.uint8)[None, None].repeat(8, axis=0)
    assert (turned_planes(size, seen, which)[:, 0] == found).all()


def test_a_turned_board_has_turned_moves():
    """A stone and its move stay together under every symmetry."""
    for which in range(8):
        plane, move = np.zeros((1, 1, 25), np.uint8), np.zeros((1, 26), np.float32)
        plane[0, 0, 7] = move[0, 7] = 1
        turned = turned_planes(5, plane, np.array([which]))[0, 0]
        assert turned.argmax() == turned_moves(5, move, np.array([which]))[0].argmax()
