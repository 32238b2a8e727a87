"""Adagrad: dense and sparse updates against the published formula and torch's own optimizer, in float64."""

import pytest
import torch

from laptime.training.optim import adagrad
from laptime.training.optim.adagrad import Adagrad


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own compiler
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_dense_updates_equal_torch_s_own(compiled):
    ours, theirs = (torch.nn.Parameter(drawn(5, 3)) for _ in range(2))
    optimizer = Adagrad([ours], epsilon=1e-8, learning_rate=0.1, compiled=compiled)
    reference = torch.optim.Adagrad([theirs], lr=0.1, eps=1e-8)
    for step in range(4):
        ours.grad, theirs.grad = drawn(5, 3, seed=step), drawn(5, 3, seed=step)
        optimizer.step()
        reference.step()
    assert torch.allclose(ours, theirs, rtol=1e-13, atol=0)


def test_sparse_updates_equal_dense_ones_and_add_up_repeated_rows():
    sparse, dense = (torch.nn.Parameter(drawn(6, 2)) for _ in range(2))
    optimizers = [Adagrad([p], epsilon=1e-3, initial=0.5, learning_rate=0.1) for p in (sparse, dense)]
    for step in range(3):
        rows = torch.tensor([[4, 1, 4]])
        sparse.grad = torch.sparse_coo_tensor(rows, drawn(3, 2, seed=step), (6, 2), check_invariants=True)
        dense.grad = sparse.grad.to_dense()
        for optimizer in optimizers:
            optimizer.step()
    assert torch.allclose(sparse, dense, rtol=1e-13, atol=0)
    assert torch.equal(sparse[[0, 2, 3, 5]], drawn(6, 2)[[0, 2, 3, 5]])
    assert not torch.equal(sparse[1], drawn(6, 2)[1])


@pytest.mark.parametrize("rows_at_a_time", [1, 3, 4, 100])
def test_sparse_updates_are_the_same_bits_however_many_rows_at_a_time(rows_at_a_time, monkeypatch):
    results = []
    for size in (1 << 18, rows_at_a_time * 2 * 8):
        monkeypatch.setattr(adagrad, "CHUNK_BYTES", size)
        weight = torch.nn.Parameter(drawn(9, 2))
        optimizer = Adagrad([weight], learning_rate=0.1)
        for step in range(2):
            weight.grad = torch.sparse_coo_tensor(torch.arange(1, 9)[None], drawn(8, 2, seed=step), (9, 2), check_invariants=True)
            optimizer.step()
        results.append((weight.detach(), optimizer.state[weight]["sum"]))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_empty_sparse_gradient_changes_nothing():
    weight = torch.nn.Parameter(drawn(3, 2))
    optimizer = Adagrad([weight], learning_rate=0.1)
    weight.grad = torch.sparse_coo_tensor(torch.empty(1, 0, dtype=torch.int64), drawn(0, 2), (3, 2), check_invariants=True)
    optimizer.step()
    assert torch.equal(weight, drawn(3, 2))


def test_rate_is_read_at_every_step_and_state_exists_from_the_start():
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = Adagrad([parameter], epsilon=0.0, initial=0.25)
    assert optimizer.state[parameter]["sum"].tolist() == [0.25]
    parameter.grad = torch.full((1,), 2.0, dtype=torch.float64)
    optimizer.rate.fill_(0.5)
    optimizer.step()
    assert parameter.item() == pytest.approx(-0.5 * 2 / 4.25**0.5, rel=1e-14)


def test_parameter_without_gradient_stays():
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = Adagrad(parameters, learning_rate=1.0)
    parameters[0].grad = torch.ones(2)
    optimizer.step()
    assert parameters[0].tolist() != [1.0, 1.0]
    assert parameters[1].tolist() == [1.0, 1.0]
