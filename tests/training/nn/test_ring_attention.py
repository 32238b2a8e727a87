"""Kernels that tell their log-sum-exp against torch's attention and autograd, and turns of the ring played in one process."""

import pytest
import torch
from torch.nn import functional as F

from laptime.training.distributed.context import own_positions
from laptime.training.distributed.world import World
from laptime.training.nn import ring_attention
from laptime.training.nn.attention_kernels import Cpu, Cuda, Inputs, Output, Plain, kernel_for
from laptime.training.nn.ring_attention import _Merged, turns

ALONE = World(0, 1, torch.device("cpu"))
KERNELS = [Plain(), Cpu()]


def tensors(*shapes, dtype=torch.float64, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def difference(found, expected):
    return float(((found - expected).abs().max() / expected.abs().max()).detach())


@pytest.mark.parametrize("kernel", KERNELS, ids=["plain", "cpu"])
@pytest.mark.parametrize(("causal", "keys"), [(True, 12), (False, 12), (False, 6)])
def test_kernel_gives_the_output_log_sum_exp_and_gradients_of_attention(kernel, causal, keys):
    q, k, v = tensors((2, 3, 12, 8), (2, 3, keys, 8), (2, 3, keys, 8))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    out, logsumexp = kernel.forward(inputs := Inputs(q.detach(), k.detach(), v.detach(), causal))
    scores = q @ k.mT / 8**0.5
    if causal:
        scores = scores.masked_fill(torch.ones(12, 12, dtype=torch.bool).triu(1), -torch.inf)
    assert difference(out, expected) < 1e-13
    assert difference(logsumexp, scores.logsumexp(-1)) < 1e-13
    [gradient] = tensors(out.shape, seed=2)
    found = kernel.backward(gradient.detach(), inputs, Output(out, logsumexp))
    for mine, theirs in zip(found, torch.autograd.grad(expected, (q, k, v), gradient), strict=True):
        assert difference(mine, theirs) < 1e-12


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_turns_of_all_processes_cover_what_causal_attention_sees_once(size):
    length = 4 * size
    seen = torch.zeros(length, length, dtype=torch.int64)
    for rank in range(size):
        own = [own_positions(length, World(one, size, ALONE.device)) for one in range(size)]
        each = list(turns(World(rank, size, ALONE.device), length // size))
        assert [turn.last for turn in each] == [False] * (size - 1) + [True]
        for number, turn in enumerate(each):
            rows, keys = own[rank][turn.rows], own[(rank - number) % size][turn.keys]
            met = torch.ones(len(rows), len(keys), dtype=torch.int64)
            seen[rows[:, None], keys[None]] += met.tril() if turn.causal else met
            assert number == 0 or met.numel() == 2 * (length // size // 2) ** 2  # as much for every process
    assert torch.equal(seen, torch.ones_like(seen).tril())


def test_outputs_of_pieces_of_keys_merge_to_that_of_all():
    q, k, v = (one.detach() for one in tensors((1, 2, 8, 4), (1, 2, 20, 4), (1, 2, 20, 4)))
    merged = _Merged(q)
    for piece in (slice(0, 3), slice(3, 15), slice(15, 20)):
        merged.add(slice(None), Plain().forward(Inputs(q, 30 * k[:, :, piece], v[:, :, piece], False)))  # far from uniform
    assert difference(merged.out, F.scaled_dot_product_attention(q, 30 * k, v)) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_ring_of_one_with_grouped_heads_is_causal_attention(dtype):
    q, k, v = tensors((2, 4, 16, 8), (2, 2, 16, 8), (2, 2, 16, 8), dtype=dtype)
    found = ring_attention.ring_attention(q, k, v, ALONE)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    bound = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    assert found.dtype is dtype
    assert difference(found.double(), expected.double()) < bound
    gradient = torch.ones_like(found)
    for mine, theirs in zip(torch.autograd.grad(found, (q, k, v), gradient), torch.autograd.grad(expected, (q, k, v), gradient), strict=True):
        assert mine.dtype is dtype
        assert difference(mine.double(), theirs.double()) < bound


def test_kernels_are_chosen_by_device():
    assert isinstance(kernel_for(torch.zeros(1)), Cpu)
    assert isinstance(kernel_for(torch.zeros(1, device="meta")), Plain)


@pytest.mark.gpu
@pytest.mark.parametrize(("causal", "keys"), [(True, 256), (False, 256), (False, 128)])
def test_flash_kernel_of_cuda_agrees_with_the_formulas(causal, keys):
    q, k, v = (one.detach().cuda() for one in tensors((2, 3, 256, 64), (2, 3, keys, 64), (2, 3, keys, 64), dtype=torch.bfloat16))
    inputs, [gradient] = Inputs(q, k, v, causal), tensors(q.shape, seed=2)
    exact = Inputs(q.double(), k.double(), v.double(), causal)
    kernel, gradient = kernel_for(q), gradient.detach().cuda()
    assert isinstance(kernel, Cuda)
    output, expected = kernel.forward(inputs), Plain().forward(exact)
    assert difference(output.out.double(), expected.out) < 2e-2
    assert difference(output.logsumexp.double(), expected.logsumexp) < 1e-3
    found = kernel.backward(gradient.bfloat16(), inputs, output)
    for mine, theirs in zip(found, Plain().backward(gradient, exact, expected), strict=True):
        assert difference(mine.double(), theirs) < 5e-2
