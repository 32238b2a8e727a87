"""One game of Go and one tree search in plain Python: lists, sets and loops, written without the batched engine.

Slow and easy to read. The tests compare the batched engine and search with it, and `laptime bench`'s table of playouts
shows what batching gains.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import log, sqrt

Board = tuple[int, ...]  # 1 black, -1 white, 0 empty, row by row


def beside(size: int, point: int) -> list[int]:
    row, column = divmod(point, size)
    places = ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
    return [r * size + c for r, c in places if 0 <= r < size and 0 <= c < size]


def chain_of(size: int, board: Sequence[int], point: int) -> tuple[set[int], set[int]]:
    """The points connected with `point` in its colour, and the other points around them."""
    chain, around, waiting = {point}, set(), [point]
    while waiting:
        for near in beside(size, waiting.pop()):
            if board[near] != board[point]:
                around.add(near)
            elif near not in chain:
                chain.add(near)
                waiting.append(near)
    return chain, around


def liberties(size: int, board: Sequence[int], point: int) -> int:
    return sum(board[near] == 0 for near in chain_of(size, board, point)[1])


def moved(size: int, board: Board, point: int, colour: int) -> Board | None:
    """The board after a stone; None where it is not empty or the stone would be without liberties."""
    if point == size * size:
        return board
    if board[point]:
        return None
    after = list(board)
    after[point] = colour
    for near in beside(size, point):
        if after[near] == -colour and not liberties(size, after, near):
            for stone in chain_of(size, after, near)[0]:
                after[stone] = 0
    return tuple(after) if liberties(size, after, point) else None


def lead(size: int, board: Board) -> int:
    """Black's area minus White's."""
    total, seen = sum(board), set()
    for point in range(size * size):
        if board[point] == 0 and point not in seen:
            region, around = chain_of(size, board, point)
            seen |= region
            colours = {board[near] for near in around}
            total += len(region) * (sum(colours) if len(colours) == 1 else 0)
    return total


@dataclass
class Game:
    """A game under positional superko, or (simple_ko) where one stone may not be taken back at once."""

    size: int
    komi: float = 7.5
    simple_ko: bool = False
    move_limit: int = 0
    boards: list[Board] = field(default_factory=list)
    moves: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.boards:
            self.boards = [(0,) * self.size ** 2]

    @property
    def turn(self) -> int:
        return -1 if len(self.moves) % 2 else 1

    @property
    def over(self) -> bool:
        passes = self.size ** 2
        return self.moves[-2:] == [passes, passes] or 0 < self.move_limit <= len(self.moves)

    def allowed(self, move: int) -> bool:
        if move == self.size ** 2:
            return True
        after = moved(self.size, self.boards[-1], move, self.turn)
        if after is None:
            return False
        return move != self._ko() if self.simple_ko else after not in self.boards

    def _ko(self) -> int:
        """The point where one stone was just taken by a stone that was surrounded by the other colour; else -1."""
        if not self.moves or self.moves[-1] == self.size ** 2:
            return -1
        before, now, move = self.boards[-2], self.boards[-1], self.moves[-1]
        taken = [point for point in range(self.size ** 2) if before[point] and not now[point]]
        alone = all(before[near] == self.turn for near in beside(self.size, move))
        return taken[0] if len(taken) == 1 and alone else -1

    def play(self, move: int) -> "Game":
        after = moved(self.size, self.boards[-1], move, self.turn)
        assert after is not None
        return Game(self.size, self.komi, self.simple_ko, self.move_limit, [*self.boards, after], [*self.moves, move])

    def winner(self) -> int:
        return 1 if lead(self.size, self.boards[-1]) > self.komi else -1


Judge = Callable[[Game], tuple[Sequence[float], float]]  # priors over all moves, and the value for Black


@dataclass(frozen=True)
class Settings:
    """The rules of the search, as in the fact table: defaults of v0.7, `v0_6` and `v0_5` the older ones'.

    fixed: a constant in the place of the growing one; masked: priors are those of legal moves, summing to 1;
    early_count: visits count when a leaf is chosen; pass_first: an unvisited pass is the first answer to a pass.
    """

    leaves: int = 4
    value_penalty: float = 0.2
    base: float = 19652.0
    init: float = 1.25
    pass_from: int = 0
    fixed: float = 0.0
    masked: bool = True
    early_count: bool = False
    pass_first: bool = False

    @classmethod
    def v0_6(cls) -> "Settings":
        return cls(leaves=8, pass_first=True)

    @classmethod
    def v0_5(cls) -> "Settings":
        return cls(leaves=8, value_penalty=0.0, fixed=1.38, masked=False, early_count=True, pass_first=True)


class Node:
    """A position. Statistics of the move that led here: visits, value sum for Black, prior."""

    def __init__(self, game: Game, parent: "Node | None", prior: float, value: float) -> None:
        self.game, self.parent, self.prior = game, parent, prior
        self.visits, self.value_sum, self.children = 0, value, dict[int, Node | tuple[float, float]]()
        self.expanded = False

    def path(self) -> Iterable["Node"]:
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent


class Search:
    """One tree, searched a few leaves at a time."""

    def __init__(self, game: Game, judge: Judge, settings: Settings) -> None:
        self.root, self.judge, self.settings = Node(game, None, 1.0, 0.0), judge, settings

    def round(self) -> None:
        """Choose some leaves, judge them, and hand the results back."""
        chosen: list[Node] = []
        for _ in range(self.settings.leaves if self.root.expanded else 1):
            leaf = self._leaf()
            if self.settings.early_count:
                self._count(leaf, 1)
            if leaf.game.over:
                self._back(leaf, float(leaf.game.winner()))
                continue
            for node in leaf.path():
                node.value_sum += node.game.turn
            chosen.append(leaf)
        for leaf in chosen:
            for node in leaf.path():
                node.value_sum -= node.game.turn
        for leaf in chosen:
            if not leaf.expanded:
                self._expand(leaf)
            elif self.settings.early_count:
                self._count(leaf, -1)

    def search(self, readouts: int) -> dict[int, int]:
        """Visits of every move after at least so many more readouts."""
        if not self.root.expanded:
            self.round()
        target = self.root.visits + readouts
        while self.root.visits < target:
            self.round()
        return self.counts()

    def counts(self) -> dict[int, int]:
        return {move: child.visits if isinstance(child, Node) else 0 for move, child in self.root.children.items()}

    def advance(self, move: int) -> None:
        """Play a move; its subtree is kept."""
        child = self._child(self.root, move)
        child.parent = None
        self.root = child

    def _leaf(self) -> Node:
        node = self.root
        while node.expanded and not node.game.over:
            node = self._child(node, self._best(node))
        return node

    def _best(self, node: Node) -> int:
        settings, total, passes = self.settings, node.visits, node.game.size ** 2
        constant = 2 * (log((1 + total + settings.base) / settings.base) + settings.init) * sqrt(max(1, total - 1))
        if settings.fixed:
            constant = settings.fixed * sqrt(1 + total)
        if settings.pass_first and node.game.moves[-1:] == [passes]:
            answer = node.children.get(passes)
            if answer is not None and not (isinstance(answer, Node) and answer.visits):
                return passes
        scores = []
        for move, child in sorted(node.children.items()):
            visits = child.visits if isinstance(child, Node) else 0
            prior = child.prior if isinstance(child, Node) else child[0]
            value_sum = child.value_sum if isinstance(child, Node) else child[1]
            spread = constant * prior / (1 + visits)
            scores.append((value_sum / (1 + visits) * node.game.turn + spread, -move))
        return -max(scores)[1]

    def _child(self, node: Node, move: int) -> Node:
        child = node.children[move]
        if not isinstance(child, Node):
            child = node.children[move] = Node(node.game.play(move), node, *child)
        return child

    def _expand(self, leaf: Node) -> None:
        priors, value = self.judge(leaf.game)
        moves = [move for move in range(leaf.game.size ** 2 + 1) if leaf.game.allowed(move)]
        if len(leaf.game.moves) < self.settings.pass_from and len(moves) > 1:
            moves.remove(leaf.game.size ** 2)
        total = sum(priors[move] for move in moves) if self.settings.masked else 1.0
        start = max(-1.0, min(1.0, value - self.settings.value_penalty * leaf.game.turn))
        leaf.children = {move: (priors[move] / total, start) for move in moves}
        leaf.expanded = True
        self._back(leaf, value)

    def _back(self, leaf: Node, value: float) -> None:
        for node in leaf.path():
            node.visits += not self.settings.early_count
            node.value_sum += value

    def _count(self, leaf: Node, times: int) -> None:
        for node in leaf.path():
            node.visits += times
