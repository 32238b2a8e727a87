"""The network at full scale: its size, and a whole step at the real widths against an independent implementation."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from laptime.suite.llama31_8b.config import full
from laptime.suite.llama31_8b.peer import network
from laptime.suite.llama31_8b.train import build_optimizer
from laptime.training.data.token_batches import Micro
from laptime.training.distributed.world import World
from laptime.training.metrics.log_perplexity import MeanTokenLoss
from laptime.training.nn.llama import Llama, frequencies, initialise
from laptime.training.optim.clip import NormClip
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
CUT = replace(full().model, layers=1, vocabulary=512)  # depth and vocabulary; every width is the real one
LENGTH = 24


def test_full_model_has_the_published_size():
    with torch.device("meta"):
        model = Llama(full().model)
    assert sum(p.numel() for p in model.parameters()) == 8_030_261_248
    assert sum(p.numel() for p in model.model.layers.parameters()) == 32 * 218_112_000
    assert len(list(model.parameters())) == 291


def their_model(ours):
    """transformers' network on the same weights, in the dtype that they have throughout."""
    pytest.importorskip("transformers")
    with torch.device("meta"):
        theirs = network(CUT, LENGTH, "sdpa")
    theirs.load_state_dict(ours.state_dict(), assign=True)
    rotary = theirs.model.rotary_emb
    rotary.inv_freq = frequencies(CUT, torch.device("cpu"))  # compared elsewhere
    for module in theirs.modules():
        if type(module).__name__ == "LlamaRMSNorm":  # theirs always computes in float32
            module.forward = lambda x, module=module: F.rms_norm(x, x.shape[-1:], module.weight, module.variance_epsilon)
    for parameter in theirs.parameters():
        parameter.requires_grad_()
    return theirs


@pytest.mark.slow
def test_a_step_at_the_real_widths_is_that_of_transformers():
    """Float64; the weights are shared until each side has taken its gradients."""
    ours = Llama(CUT).double()
    initialise(ours, Seeds(1))
    theirs = their_model(ours)
    windows = torch.randint(512, (1, LENGTH + 1), generator=torch.Generator().manual_seed(2))
    micro = Micro(windows[:, :-1], windows[:, 1:])
    loss = MeanTokenLoss(LENGTH, ALONE)(ours, micro)
    expected = F.cross_entropy(theirs(micro.tokens, use_cache=False).logits.flatten(0, 1), micro.labels.flatten())
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        difference = (parameter.grad - gradients[name].grad).abs().max() / gradients[name].grad.abs().max()
        assert difference <= 1e-11, name
    _compare_updates(ours, gradients)


def _compare_updates(ours, gradients):
    """Clipping and AdamW of the smallest tensors, against torch's own."""
    norm = torch.stack([one.grad.norm() for one in gradients.values()]).norm()
    scale = 1.0 / max(1.0, norm.item())
    small = [name for name, p in ours.named_parameters() if p.numel() <= 4096]
    copies = {name: torch.nn.Parameter(gradients[name].detach().clone()) for name in small}
    for name, copy in copies.items():
        copy.grad = gradients[name].grad * scale
    torch.optim.AdamW(copies.values(), lr=1e-3, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0).step()
    NormClip(ours.parameters(), 1.0)()
    optimizer = build_optimizer(full().optimizer, ours)
    optimizer.rate.fill_(1e-3)
    optimizer.step()
    for name, copy in copies.items():
        assert torch.allclose(ours.get_parameter(name), copy, rtol=1e-7, atol=0), name
