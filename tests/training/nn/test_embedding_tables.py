"""Fused embedding tables: values, gradients and shares against one plain EmbeddingBag per table."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laptime.errors import InvalidConfiguration
from laptime.training.distributed.world import World
from laptime.training.nn import embedding_tables
from laptime.training.nn.embedding_tables import EmbeddingTables, Lookups, grouped, shares_of, starts_of, table_shares
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
ROWS, BAGS = (7, 3, 20), (2, 1, 5)


def tables(dtype=torch.float64):
    made = EmbeddingTables(ROWS, BAGS, 4, ALONE)
    made.draw(lambda k: Seeds(1).torch("table", k))
    return made.to(dtype)


def ids(samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(rows, (samples, bag), generator=generator) for rows, bag in zip(ROWS, BAGS, strict=True)]


def lookups(parts, *, grouping=True):
    flat = torch.cat([part + start for part, start in zip(parts, starts_of(ROWS), strict=True)], dim=1)
    return Lookups(flat, grouped(flat, BAGS) if grouping else None)


def plain(made):
    """Independent: a list of torch's own modules with copied weights."""
    bags = []
    for start, rows in zip(starts_of(ROWS), ROWS, strict=True):
        bag = torch.nn.EmbeddingBag(rows, 4, mode="sum", dtype=torch.float64)
        bag.weight.data.copy_(made.weight[start:start + rows])
        bags.append(bag)
    return bags


def test_sums_and_gradients_equal_those_of_single_tables():
    made, parts = tables(), ids(6)
    single = plain(made)
    factors = torch.randn(6, 3, 4, dtype=torch.float64)
    sums, expected = made(lookups(parts)), torch.stack([bag(part) for bag, part in zip(single, parts, strict=True)], 1)
    assert torch.allclose(sums, expected, rtol=1e-14)
    (sums * factors).sum().backward()
    (expected * factors).sum().backward()
    assert torch.allclose(made.weight.grad.to_dense(), torch.cat([bag.weight.grad for bag in single]), rtol=1e-14, atol=1e-15)


def test_gradient_names_each_touched_row_once_in_order():
    made, parts = tables(), ids(6)
    made(lookups(parts)).sum().backward()
    rows = made.weight.grad._indices()[0].tolist()
    assert rows == sorted(set(torch.cat([p.reshape(-1) + s for p, s in zip(parts, starts_of(ROWS), strict=True)]).tolist()))


def test_gradients_of_two_batches_add_up():
    made, both = tables(), tables()
    one, other = ids(4, 1), ids(4, 2)
    for parts in (one, other):
        made(lookups(parts)).square().sum().backward()
    both(lookups([torch.cat(pair) for pair in zip(one, other, strict=True)])).square().sum().backward()
    assert torch.allclose(made.weight.grad.to_dense(), both.weight.grad.to_dense(), rtol=1e-13)


def test_lookups_without_grouping_give_the_same_sums_and_no_gradient():
    made, parts = tables(), ids(5)
    with torch.no_grad():
        assert torch.equal(made(lookups(parts, grouping=False)), made(lookups(parts)))


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=6))
def test_grouping_lists_the_bags_of_every_row(samples):
    flat = torch.tensor(samples)
    found = grouped(flat, (1, 2))
    pairs = sorted((row, 2 * n + (column > 0)) for n, sample in enumerate(samples) for column, row in enumerate(sample))
    counts = torch.diff(found.starts, append=torch.tensor([flat.numel()]))
    assert list(zip(found.rows.repeat_interleave(counts).tolist(), found.bags.tolist(), strict=True)) == pairs


def test_initial_values_are_within_the_bound_of_their_table_and_equal_however_drawn(monkeypatch):
    made = tables(torch.float32)
    for start, rows in zip(starts_of(ROWS), ROWS, strict=True):
        part = made.weight[start:start + rows].abs().max().item()
        assert 0.5 * rows**-0.5 < part <= rows**-0.5
    whole = EmbeddingTables((64,), (1,), 4, ALONE)
    whole.draw(lambda k: Seeds(1).torch("table", k))
    monkeypatch.setattr(embedding_tables, "CHUNK_ROWS", 16)
    chunks = EmbeddingTables((64,), (1,), 4, ALONE)
    chunks.draw(lambda k: Seeds(1).torch("table", k))
    assert torch.equal(whole.weight, chunks.weight)


@given(st.lists(st.integers(1, 1000), min_size=4, max_size=12), st.integers(1, 4))
def test_every_table_has_one_owner_and_no_process_is_idle(rows, processes):
    shares = table_shares(rows, [1] * len(rows), processes)
    assert sorted(k for own in shares for k in own) == list(range(len(rows)))
    assert all(shares)


def test_large_tables_are_spread_before_small_ones():
    assert table_shares((40, 1, 40, 2, 40, 3), (1,) * 6, 3) == ((0, 5), (2, 3), (1, 4))


def test_more_processes_than_tables_are_refused():
    with pytest.raises(InvalidConfiguration, match=r"one process per embedding table \(2\), found 3"):
        table_shares((5, 5), (1, 1), 3)


def test_share_of_too_many_rows_is_refused():
    with pytest.raises(InvalidConfiguration, match="at most 2147483647 embedding rows per process"):
        table_shares((2**31 - 1, 1), (1, 1), 1)


def test_rows_of_two_processes_are_the_rows_of_one():
    whole = EmbeddingTables((64, 5), (2, 1), 4, ALONE)
    whole.draw(lambda k: torch.Generator().manual_seed(k))
    parts = [EmbeddingTables((64, 5), (2, 1), 4, World(rank, 2, torch.device("cpu")), "rows") for rank in range(2)]
    for part in parts:
        part.draw(lambda k: torch.Generator().manual_seed(k))
    first, second = (part.weight for part in parts)
    assert torch.equal(torch.cat([first[:32], second[:32], first[32:], second[32:]]), whole.weight)


def test_every_lookup_is_found_by_the_process_that_has_its_row():
    ids = np.array([[0, 63, 4], [31, 32, 1]])
    shares = shares_of((64, 5), (2, 1), 2, "rows")
    found = [share.flat(ids + np.repeat(share.shifts, (2, 1)), (2, 1)) for share in shares]
    assert found[0].tolist() == [[0, -1, -1], [31, -1, 33]]
    assert found[1].tolist() == [[-1, 31, 34], [-1, 0, -1]]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(1, 9))
def test_every_row_of_every_table_is_held_once_however_they_divide(rows, processes):
    """Also where there are fewer rows than processes: some then hold none of a table."""
    shares = shares_of(rows, [1] * len(rows), processes, "rows")
    for k, count in enumerate(rows):
        held = [row for share in shares for row in range(share.lows[k], share.lows[k] + share.rows[k])]
        assert held == list(range(count))
        assert max(share.rows[k] for share in shares) - min(share.rows[k] for share in shares) <= 1
