"""What a sample costs: operations by hand, fused attention without its scores, files that belong to their benchmark."""

import json

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from laptime.bench.subject import subjects
from laptime.bench.work import COUNTED, FILE, Saved, fused_attention, measure
from laptime.suite import folders

MEASURED = [name for name, folder in folders().items() if (folder / FILE).is_file()]


@pytest.mark.parametrize(("causal", "times"), [(False, 3.0), (True, 1.5)])
def test_attention_counts_model_operations_once_and_half_under_a_causal_mask(causal, times):
    q, k, v = (torch.randn(2, heads, 64, 16, device="meta", requires_grad=True) for heads in (8, 2, 2))
    with fused_attention(), FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
        F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True).sum().backward()
    assert counter.get_total_flops() == times * 4 * 2 * 8 * 64 * 64 * 16
    assert k.grad.shape == k.shape


def test_attention_is_itself_again_afterwards_and_with_a_mask():
    own = F.scaled_dot_product_attention
    q = torch.randn(1, 1, 4, 8)
    with fused_attention():
        inside = F.scaled_dot_product_attention(q, q, q, is_causal=True)
    assert F.scaled_dot_product_attention is own
    assert torch.equal(inside, own(q, q, q, is_causal=True))


def test_kept_tensors_are_counted_once_and_weights_never():
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    saved = Saved(model)
    x = torch.randn(2, 8)
    with saved.listening():
        model(x).sum().backward()
    assert saved.bytes == 4 * (2 * 8 + 2 * 16)  # the input, and what the ReLU and the second layer share


def test_linear_models_count_six_operations_per_weight_and_token():
    """The fact sheet's 51.47 GFLOP per token of Llama 3.1 8B at 8192, causal attention counted once."""
    work = json.loads((folders()["llama31_8b"] / FILE).read_text())
    assert work["flop_per_sample"] / 8192 == pytest.approx(51.47e9, rel=0.002)


@pytest.mark.seconds
@pytest.mark.parametrize("name", ["resnet", "bert", "dlrm_dcnv2"])
def test_committed_work_is_what_the_benchmark_costs(name):
    """Of those that take seconds; the last on the CPU, where the meta device refuses (row numbers need values)."""
    kept, found = json.loads((folders()[name] / FILE).read_text()), measure(subjects((name,))[0])
    assert found.flop_per_sample == kept["flop_per_sample"]
    assert found.activation_bytes_per_sample == pytest.approx(kept["activation_bytes_per_sample"], rel=1e-3)
    assert (found.parameters, found.optimizer_bytes) == (kept["parameters"], kept["optimizer_bytes"])
    assert found.measured_on == kept["measured_on"]


@pytest.mark.parametrize("name", MEASURED)
def test_every_committed_work_has_the_fields(name):
    kept = json.loads((folders()[name] / FILE).read_text())
    assert kept["flop_per_sample"] > 0
    assert kept["measured_on"] in ("meta", "cpu")
    assert (kept["blocks"] > 0) == (kept["block_bytes_per_sample"] > 0)
