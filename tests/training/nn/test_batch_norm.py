"""Batch norm over groups: against torch's own on each group, and equal however a batch is spread."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from laptime.errors import InvalidConfiguration
from laptime.training.distributed.world import World
from laptime.training.nn.batch_norm import RunningStatistics, SpanBatchNorm2d, check_span

ALONE = World(0, 1, torch.device("cpu"))
FEATURES = 5


def layer_for(span, world=ALONE, dtype=torch.float64):
    layer = SpanBatchNorm2d(FEATURES, span, world)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        layer.weight.uniform_(0.5, 1.5, generator=generator)
        layer.bias.uniform_(-1, 1, generator=generator)
    return layer.to(dtype)


def images(samples, dtype=torch.float64):
    x = torch.randn(samples, FEATURES, 3, 4, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    return (3 * x + 2).to(dtype)


def passed(layer, micro_batches, forward=None):
    """Forward, a loss that is not symmetric in the samples, backward, commit."""
    outputs, inputs = [], [x.clone().requires_grad_() for x in micro_batches]
    for x in inputs:
        outputs.append((layer if forward is None else forward)(x))
        (outputs[-1].double().pow(3) * torch.linspace(0, 1, x.numel()).view_as(x)).sum().backward()
    RunningStatistics(layer, ALONE).commit()
    return torch.cat(outputs).detach(), torch.cat([x.grad for x in inputs])


def reference(span, x):
    """torch's batch norm, one fresh call per group; running values: mean over groups, then one momentum step."""
    norm = torch.nn.BatchNorm2d(FEATURES, momentum=1.0).double()
    norm.load_state_dict({**norm.state_dict(), "weight": layer_for(span).weight, "bias": layer_for(span).bias})
    outputs, means, variances = [], [], []
    for group in x.split(span):
        outputs.append(norm(group))
        means.append(norm.running_mean.clone())
        variances.append(norm.running_var.clone())
    return torch.cat(outputs).detach(), 0.1 * torch.stack(means).mean(0), 0.9 + 0.1 * torch.stack(variances).mean(0)


@pytest.mark.parametrize("span", [4, 8, 16])
def test_each_group_is_normalised_by_itself(span):
    layer, x = layer_for(span), images(16)
    expected, mean, variance = reference(span, x)
    output, _ = passed(layer, [x])
    assert torch.allclose(output, expected, rtol=1e-12)
    assert torch.allclose(layer.running_mean, mean, rtol=1e-12)
    assert torch.allclose(layer.running_var, variance, rtol=1e-12)


def test_accumulation_changes_nothing_at_an_equal_span():
    x = images(16)
    whole, parts = layer_for(8), layer_for(8)
    (expected, gradient), (output, other) = passed(whole, [x]), passed(parts, list(x.split(8)))
    assert torch.allclose(output, expected, rtol=1e-12)
    assert gradient.shape == other.shape
    assert torch.allclose(whole.running_mean, parts.running_mean, rtol=1e-12)
    assert torch.allclose(whole.running_var, parts.running_var, rtol=1e-12)


def test_another_span_gives_other_outputs():
    x = images(16)
    assert not torch.allclose(passed(layer_for(8), [x])[0], passed(layer_for(16), [x])[0], rtol=1e-3)


def test_forward_leaves_running_values_until_commit():
    layer = layer_for(8)
    layer(images(8))
    assert torch.equal(layer.running_mean, torch.zeros(FEATURES, dtype=torch.float64))
    RunningStatistics(layer, ALONE).commit()
    assert not torch.equal(layer.running_mean, torch.zeros(FEATURES, dtype=torch.float64))
    assert not any(b.any() for n, b in layer.named_buffers() if n.startswith("pending"))


def test_evaluation_uses_running_values_and_changes_none():
    layer = layer_for(8)
    passed(layer, [images(8)])
    before = {name: value.clone() for name, value in layer.named_buffers()}
    layer.eval()
    x = images(3)
    centred = (x - layer.running_mean[:, None, None]) / (layer.running_var[:, None, None] + 1e-5).sqrt()
    assert torch.allclose(layer(x), centred * layer.weight[:, None, None] + layer.bias[:, None, None], rtol=1e-12)
    assert all(torch.equal(value, before[name]) for name, value in layer.named_buffers())


def test_channels_last_stays_channels_last_and_equal():
    x = images(16)
    output = layer_for(8)(x.to(memory_format=torch.channels_last))
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(output, layer_for(8)(x), rtol=1e-12)


def test_bfloat16_input_keeps_float32_statistics():
    layer, x = layer_for(8, dtype=torch.float32), images(16, torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, _ = passed(layer, [x])
    expected, mean, _ = reference(8, x.double())
    assert output.dtype == torch.bfloat16
    assert layer.running_mean.dtype == torch.float32
    assert torch.allclose(output.double(), expected, rtol=0.02, atol=0.02)
    assert torch.allclose(layer.running_mean.double(), mean, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own compiler
def test_compiled_equals_eager():
    eager, traced, x = layer_for(8), layer_for(8), images(16)
    (expected, gradient), (output, other) = passed(eager, [x]), passed(traced, [x], torch.compile(traced))
    assert torch.allclose(output, expected, rtol=1e-10)
    assert torch.allclose(other, gradient, rtol=1e-8, atol=1e-10)
    assert torch.allclose(traced.running_var, eager.running_var, rtol=1e-12)


@pytest.mark.parametrize(("span", "micro", "processes"), [(8, 16, 1), (16, 16, 1), (16, 8, 2), (16, 8, 4), (8, 8, 3)])
def test_spans_that_can_be_formed_are_accepted(span, micro, processes):
    check_span(span, micro, processes)


@pytest.mark.parametrize(("span", "micro", "processes"), [(6, 16, 1), (16, 8, 1), (16, 8, 3), (12, 8, 3), (0, 8, 1)])
def test_spans_that_cannot_be_formed_are_refused(span, micro, processes):
    with pytest.raises(InvalidConfiguration, match=f"norm_span = {span}"):
        check_span(span, micro, processes)


def test_forward_refuses_a_batch_that_does_not_fit():
    with pytest.raises(InvalidConfiguration, match="12 samples"):
        layer_for(8)(images(12))


def _rank(rank: int, folder: str) -> None:
    """One of two processes that share a group of 16."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    world = World(rank, 2, torch.device("cpu"))
    layer = layer_for(16, world)
    x = images(16)[8 * rank:8 * rank + 8].requires_grad_()
    weights = torch.linspace(0, 1, 16 * FEATURES * 12).view(16, FEATURES, 3, 4)[8 * rank:8 * rank + 8]
    output = layer(x)
    (output.pow(3) * weights).sum().backward()
    RunningStatistics(layer, world).commit()
    torch.save({"output": output.detach(), "gradient": x.grad, "mean": layer.running_mean, "var": layer.running_var},
               f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_a_group_spread_over_two_processes_equals_one_process(tmp_path: Path):
    command = [sys.executable, __file__, str(tmp_path)]
    ranks = [subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE, text=True) for rank in range(2)]
    for process in ranks:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    shares = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    layer = layer_for(16)
    output, gradient = passed(layer, [images(16)])
    assert torch.allclose(torch.cat([s["output"] for s in shares]), output, rtol=1e-10, atol=1e-12)
    assert torch.allclose(torch.cat([s["gradient"] for s in shares]), gradient, rtol=1e-10, atol=1e-12)
    for share in shares:
        assert torch.allclose(share["mean"], layer.running_mean, rtol=1e-12)
        assert torch.allclose(share["var"], layer.running_var, rtol=1e-12)


if __name__ == "__main__":
    _rank(int(sys.argv[2]), sys.argv[1])
