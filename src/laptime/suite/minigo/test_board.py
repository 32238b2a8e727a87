"""The batched rules of Go against the plain engine on random games, and the cases every rule book draws."""

import numpy as np
import pytest

from laptime.suite.minigo import plain
from laptime.suite.minigo.board import BLACK, EMPTY, WHITE, Boards, area, geometry
from laptime.suite.minigo.settled import all_settled, connected, settled

COLOURS = {".": EMPTY, "X": BLACK, "O": WHITE}


def points_of(text):
    return [COLOURS[letter] for letter in text if letter in COLOURS]


def boards_of(text, turn=BLACK):
    """One position from a drawing, reached by stones put down in turn with passes between."""
    stones = points_of(text)
    size = round(len(stones) ** 0.5)
    boards = Boards.empty(size, 1)
    black = [p for p, c in enumerate(stones) if c == BLACK]
    white = [p for p, c in enumerate(stones) if c == WHITE]
    for i in range(max(len(black), len(white))):
        boards.play(np.array([black[i] if i < len(black) else size * size]))
        boards.play(np.array([white[i] if i < len(white) else size * size]))
    if turn == WHITE:
        boards.play(np.array([size * size]))
    assert boards.colour[:-1, 0].tolist() == stones, "the drawing cannot be reached in this order"
    return boards


def legal(boards, **options):
    return set(np.flatnonzero(boards.legal(**options)[:, 0]).tolist())


def compare(boards, games, seen):
    """Every fact of the batched positions equals that of the plain games."""
    size = boards.geometry.size
    allowed, after, leads, free = boards.legal(), boards.after(), boards.black_lead(), boards.liberties_at()
    for i, game in enumerate(games):
        new = [p for p in np.flatnonzero(allowed[:, i]).tolist() if int(after[p, i]) not in seen[i]]
        assert new == [p for p in range(size * size) if game.allowed(p)]
        assert leads[i] == plain.lead(size, game.boards[-1])
        assert boards.ko[i] == (game._ko() if game._ko() >= 0 else size * size)
        stones = [p for p in range(size * size) if game.boards[-1][p]]
        assert [int(free[p, i]) for p in stones] == [plain.liberties(size, game.boards[-1], p) for p in stones]
    return allowed, after


@pytest.mark.parametrize(("size", "count", "moves"), [(2, 6, 12), (3, 8, 30), (5, 16, 60), (7, 6, 80), (9, 3, 110)])
def test_random_games_equal_the_plain_engine(size, count, moves):
    draw = np.random.default_rng(size)
    boards, games = Boards.empty(size, count), [plain.Game(size) for _ in range(count)]
    seen = [{0} for _ in range(count)]
    for _ in range(moves):
        allowed, after = compare(boards, games, seen)
        chosen = []
        for i in range(count):
            options = [p for p in np.flatnonzero(allowed[:, i]).tolist() if int(after[p, i]) not in seen[i]]
            chosen.append(int(draw.choice(options)) if options and draw.random() > 0.03 else size * size)
        expected = [int(after[p, i]) if p < size * size else int(boards.whole[i]) for i, p in enumerate(chosen)]
        boards.play(np.array(chosen))
        games = [game.play(p) for game, p in zip(games, chosen, strict=True)]
        assert boards.whole.tolist() == expected
        assert boards.colour[:-1].T.tolist() == [list(game.boards[-1]) for game in games]
        for i in range(count):
            seen[i].add(int(boards.whole[i]))


def test_positions_have_equal_hashes_exactly_if_they_are_equal():
    draw, hashes = np.random.default_rng(3), {}
    boards = Boards.empty(3, 200)
    for _ in range(20):
        stones = boards.legal()
        boards.play(np.array([draw.choice([*np.flatnonzero(stones[:, i]), 9]) for i in range(200)]))
        for i in range(200):
            hashes.setdefault(int(boards.whole[i]), set()).add(tuple(boards.colour[:-1, i].tolist()))
    assert all(len(positions) == 1 for positions in hashes.values())
    assert len(hashes) == len(set.union(*hashes.values())) > 500


def test_a_stone_without_liberties_is_suicide_and_forbidden():
    eye = ". X . X . . . . ."
    assert 0 not in legal(boards_of(eye, WHITE))
    assert 0 in legal(boards_of(eye))


def test_suicide_of_several_stones_is_forbidden():
    boards = boards_of("O . X . . X X X . . . . . . . . . . . . . . . . .", WHITE)
    assert 1 not in legal(boards)


def test_a_capture_is_no_suicide_and_removes_the_whole_chain():
    boards = boards_of(". O O X O X X . O X . . . . . .".replace("O X . . .", "X . . . ."))
    assert 0 in legal(boards)
    boards.play(np.array([0]))
    assert boards.colour[[0, 1, 2, 4], 0].tolist() == [BLACK, EMPTY, EMPTY, EMPTY]
    assert boards.liberties_at()[0, 0] == 2


def test_two_chains_are_captured_by_one_stone():
    boards = boards_of("O . O X X . X . . . . . . . . .")
    boards.play(np.array([5]))
    boards.play(np.array([16]))
    boards.play(np.array([1]))
    assert boards.colour[[0, 1, 2], 0].tolist() == [EMPTY, BLACK, EMPTY]


def ko():
    """Black has just taken one stone at 5; White may not take back at once."""
    boards = boards_of(". X O . X O . O . X O . . . . .")
    boards.play(np.array([6]))
    return boards


def test_one_stone_may_not_be_taken_back_at_once_but_later():
    boards = ko()
    assert boards.ko[0] == 5
    assert 5 not in legal(boards, simple_ko=True)
    assert 5 in legal(boards)
    boards.play(np.array([15]))
    boards.play(np.array([12]))
    assert 5 in legal(boards, simple_ko=True)


def test_taking_back_repeats_the_position_which_its_hash_tells():
    boards = boards_of(". X O . X O . O . X O . . . . .")
    before = int(boards.whole[0])
    boards.play(np.array([6]))
    assert int(boards.after()[5, 0]) == before


def test_capture_of_two_stones_is_no_ko():
    boards = boards_of("O O . X X . . . .")
    boards.play(np.array([2]))
    assert boards.ko[0] == 9


def test_score_counts_stones_and_what_they_alone_enclose():
    def lead(text):
        colour = np.array([*points_of(text), 3], np.int8)[:, None]
        return float(area(geometry(round((len(colour) - 1) ** 0.5)), colour)[0])

    assert lead(". . . . . . . . .") == 0
    assert lead(". . . . X . . . .") == 9
    assert lead(". X . X X . O O O") == 4 - 3  # two points beside both colours are nobody's
    assert lead(". X O . X O . X O") == 6 - 3
    assert lead("X X X O O O . . .") == 3 - 6


@pytest.mark.parametrize(("text", "black", "white"), [
    (". X . X . X X X X . . . . . . . . . . . . . . . .", {0, 1, 2, 3, 5, 6, 7, 8}, set()),  # two eyes live
    (". X . . . X X . . . . . . . . . . . . . . . . . .", set(), set()),  # one eye does not
    ("X X X X X . X . X X X X X X X O O O O O . O O . O", set(range(15)), set(range(15, 25))),
])
def test_settled_points_of_drawn_positions(text, black, white):
    colour = np.array([*points_of(text), 3], np.int8)
    boards = placed(colour)
    mine, theirs = settled(boards)
    found = [set(np.flatnonzero(one[:, 0]).tolist()) for one in (mine, theirs)]
    assert found == [black, white]
    assert all_settled(boards).all() == (len(black | white) == len(colour) - 1)


def placed(colour):
    """A position put on the board as it is."""
    size = round((len(colour) - 1) ** 0.5)
    boards = Boards.empty(size, 1)
    boards.colour[:, 0] = colour
    for sign in (BLACK, WHITE):
        names = connected(boards.geometry, boards.colour[:-1] == sign)
        boards.chain[:-1] = np.where(boards.colour[:-1] == sign, names, boards.chain[:-1])
    boards._count_liberties(np.arange(1))
    return boards


def test_settled_chains_are_never_captured_in_random_play():
    """From any position, whatever White plays while Black passes, settled Black points stay Black's, and vice versa."""
    draw, size, met = np.random.default_rng(5), 4, 0
    for _ in range(60):
        boards = Boards.empty(size, 1)
        for _ in range(22):
            options = [*np.flatnonzero(boards.legal()[:, 0])] or [size * size]
            boards.play(np.array([draw.choice(options)]))
        for side, mine in zip((BLACK, WHITE), settled(boards), strict=True):
            chains = mine[:, 0] & (boards.colour[:-1, 0] == side)
            met += int(chains.any())
            later = boards.take(np.arange(1))
            for _ in range(40):
                options = np.flatnonzero(later.legal()[:, 0])
                attacks = later.turn[0] == -side and len(options)
                later.play(np.array([draw.choice(options) if attacks else size * size]))
            assert (later.colour[:-1, 0][chains] == side).all()
    assert met > 5


def test_no_chain_is_without_liberties_and_edges_stay_edges():
    draw, boards = np.random.default_rng(9), Boards.empty(5, 64)
    for _ in range(40):
        stones = boards.legal()
        boards.play(np.array([draw.choice([*np.flatnonzero(stones[:, i]), 25]) for i in range(64)]))
        free = boards.liberties_at()
        assert ((boards.colour[:-1] == EMPTY) | (free >= 1)).all()
        assert (boards.colour[-1] == 3).all()
