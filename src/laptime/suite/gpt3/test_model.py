"""The network: size, names, initial weights, what sees what, and a whole training step against transformers' GPT-2."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from laptime.suite.gpt3.config import full
from laptime.suite.gpt3.data import Micro
from laptime.suite.gpt3.model import Gpt3, Norm
from laptime.suite.gpt3.train import Loss, build_optimizer, initialise
from laptime.training.distributed.world import World
from laptime.training.optim.clip import NormClip
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
TINY = replace(full(), model=replace(full().model, layers=2, hidden=16, heads=2, intermediate=64, vocabulary=50, tokens=47),
               data=replace(full().data, length=12))


def network(config, seed=1, dtype=torch.float64):
    model = Gpt3(config.model, config.data.length)
    initialise(model, config, Seeds(seed))
    return model.to(dtype)


def tokens_of(config, count=2, seed=3):
    return torch.randint(config.model.tokens, (count, config.data.length), generator=torch.Generator().manual_seed(seed))


def micro_of(config, count=2):
    tokens = tokens_of(config, count)
    labels = tokens.roll(-1, 1)
    labels[:, -1] = -100
    return Micro(tokens, labels)


def test_full_model_has_the_published_size():
    with torch.device("meta"):
        model = Gpt3(full().model, full().data.length)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in
             (("embedding", model.embedding), ("block", model.blocks[0]), ("norm", model.norm), ("head", model.head))}
    hidden = 12288
    assert count == {"embedding": (51200 + 2048) * hidden, "block": 12 * hidden**2 + 13 * hidden, "norm": 2 * hidden, "head": 0}
    assert sum(p.numel() for p in model.parameters()) == 174_615_846_912


def test_initial_weights_are_normal_biases_zero_and_norms_of_scale_one():
    config = replace(TINY, model=replace(TINY.model, hidden=256, intermediate=1024))
    model = network(config, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            assert not parameter.any(), name
        else:
            assert parameter.std().item() == pytest.approx(0.006, rel=0.1), name
    assert model.blocks[1].mlp.up.weight.std().item() == pytest.approx(0.006, rel=0.01)
    x = torch.randn(3, 256)
    assert torch.allclose(model.norm(x), F.layer_norm(x, (256,), eps=1e-5))


def test_initial_weights_depend_on_the_seed_only():
    assert all(torch.equal(a, b) for a, b in zip(network(TINY).parameters(), network(TINY).parameters(), strict=True))
    assert not torch.equal(network(TINY).blocks[0].mlp.up.weight, network(TINY, seed=2).blocks[0].mlp.up.weight)


def test_no_position_sees_a_later_one():
    model, tokens = network(TINY), tokens_of(TINY)
    positions = torch.arange(12)
    changed = tokens.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 47
    before, after = model(tokens, positions), model(changed, positions)
    assert torch.equal(before[:, :7], after[:, :7])
    assert (before[:, 7:] - after[:, 7:]).abs().amax(-1).min() > 0


def test_documents_in_one_window_see_each_other():
    """As in both references: no border in attention, positions go on, every token but the last is predicted."""
    model, tokens = network(TINY), tokens_of(TINY)
    other = tokens.clone()
    other[:, :5] = (other[:, :5] + 11) % 47  # another first document of five tokens
    second = model(tokens, torch.arange(12))[:, 5:]
    assert (second - model(other, torch.arange(12))[:, 5:]).abs().amax(-1).min() > 0
    restarted = model(tokens, torch.cat([torch.arange(5), torch.arange(7)]))[:, 5:]
    assert (second - restarted).abs().amax(-1).min() > 0


def test_positions_matter_unless_they_are_unknown():
    model, tokens = network(TINY), tokens_of(TINY)
    shifted = torch.arange(11, -1, -1)
    assert not torch.equal(model(tokens, torch.arange(12)), model(tokens, shifted))
    blind = network(replace(TINY, model=replace(TINY.model, positions_known=False)))
    assert torch.equal(blind(tokens, torch.arange(12)), blind(tokens, shifted))


def test_decay_pulls_the_scale_of_norms_to_one():
    norm = Norm(4, 1e-5)
    with torch.no_grad():
        norm.weight.fill_(0.5)
    optimizer = build_optimizer(replace(full().optimizer, base_learning_rate=0.1, weight_decay=1.0), norm)
    norm.weight.grad, norm.bias.grad = torch.zeros(4), torch.zeros(4)
    optimizer.step()
    assert (1.0 + norm.weight).tolist() == pytest.approx([1.45] * 4)


# --- a whole step against an independent implementation with copied weights ---

def theirs_of(config, dtype=torch.float64):
    """transformers' GPT-2: its norms keep the scale itself, its matrices are (in, out), its rows lie (3, N, D)."""
    transformers = pytest.importorskip("transformers", reason="dev extra not installed")
    model = config.model
    settings = transformers.GPT2Config(
        vocab_size=model.vocabulary, n_positions=config.data.length, n_embd=model.hidden, n_layer=model.layers,
        n_head=model.heads, n_inner=model.intermediate, activation_function="gelu_new", bos_token_id=0, eos_token_id=1, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, layer_norm_epsilon=model.norm_epsilon, tie_word_embeddings=True)
    settings._attn_implementation = "eager"
    with torch.device("meta"):
        network = transformers.GPT2LMHeadModel(settings)
    network = network.to(dtype)
    network.to_empty(device="cpu")
    network.tie_weights()
    with torch.no_grad():
        for name, buffer in network.named_buffers():  # masks of older versions are made, not learnt
            if name.endswith("attn.bias"):
                buffer.copy_(torch.ones_like(buffer).tril())
    return network


def pairs(ours, theirs, heads):
    """(name, our parameter, theirs, how ours is laid out there, what is added) of every parameter."""
    def split(x):  # (N, 3, D) rows -> (3, N, D)
        return x.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2)

    same, turned = (lambda x: x), (lambda x: x.t())
    yield "words", ours.embedding.words.weight, theirs.transformer.wte.weight, same, 0
    yield "places", ours.embedding.places.weight, theirs.transformer.wpe.weight, same, 0
    yield "norm.w", ours.norm.weight, theirs.transformer.ln_f.weight, same, 1
    yield "norm.b", ours.norm.bias, theirs.transformer.ln_f.bias, same, 0
    for i, (block, their) in enumerate(zip(ours.blocks, theirs.transformer.h, strict=True)):
        for name, mine, other, weight, bias, added in (
                ("norm1", block.norm1, their.ln_1, same, same, 1), ("norm2", block.norm2, their.ln_2, same, same, 1),
                ("qkv", block.attention.qkv, their.attn.c_attn, lambda x: split(x).t(), split, 0),
                ("out", block.attention.output, their.attn.c_proj, turned, same, 0),
                ("up", block.mlp.up, their.mlp.c_fc, turned, same, 0),
                ("down", block.mlp.down, their.mlp.c_proj, turned, same, 0)):
            yield f"{i}.{name}.w", mine.weight, other.weight, weight, added
            yield f"{i}.{name}.b", mine.bias, other.bias, bias, 0


def their_loss(theirs, tokens):
    """Its own takes the scores in float32."""
    scores = theirs(tokens).logits[:, :-1]
    return F.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten())


def differ(mine, other):
    """The largest difference, in units of the largest value; a part at a time."""
    parts = zip(mine.chunk(64), other.chunk(64), strict=True)
    return max((a - b).abs().max().item() for a, b in parts) / max(part.abs().max().item() for part in other.chunk(64))


def jolted(model, seed=5):
    """Norms and biases that are not what initialisation makes them, so that each of them counts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model


WIDE = replace(full(), model=replace(full().model, layers=2, hidden=512, heads=4, intermediate=2048, vocabulary=600, tokens=600,
                                     initial_std=0.02), data=replace(full().data, length=48))


@pytest.mark.seconds
def test_whole_step_equals_an_independent_implementation():
    """Loss, every gradient, and the weights after clipping and AdamW, at the real width of a head."""
    ours, theirs = jolted(network(WIDE)), theirs_of(WIDE)
    known = list(pairs(ours, theirs, WIDE.model.heads))
    with torch.no_grad():
        for _, mine, other, turn, added in known:
            other.copy_(turn(mine) + added)
    batch = micro_of(WIDE)
    loss, reference = Loss(2 * 47, ALONE)(ours, batch), their_loss(theirs, batch.tokens)
    assert loss.item() == pytest.approx(reference.item(), rel=1e-13)
    loss.backward()
    reference.backward()
    for name, mine, other, turn, _ in known:
        assert differ(turn(mine.grad), other.grad) < 1e-11, name
    NormClip(ours.parameters(), 1.0)()
    torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
    build_optimizer(replace(WIDE.optimizer, base_learning_rate=1e-3, weight_decay=0.0), ours).step()
    torch.optim.AdamW(theirs.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0).step()
    for name, mine, other, turn, added in known:
        if "qkv.b" not in name:  # the gradient of a bias of keys is zero but for rounding
            assert differ(turn(mine.detach()) + added, other.detach()) < 1e-8, name


@pytest.mark.full
def test_whole_step_equals_an_independent_implementation_at_the_real_widths():
    """One block of hidden size 12288 in float32, gradients of one matrix at a time: 19 GB of memory."""
    config = replace(full(), model=replace(full().model, layers=1, vocabulary=512, tokens=512), data=replace(full().data, length=8))
    with torch.device("meta"):
        ours = Gpt3(config.model, config.data.length)
    initialise(ours.to_empty(device="cpu"), config, Seeds(1))
    theirs = theirs_of(config, torch.float32)  # memory that is never touched
    known = list(pairs(jolted(ours), theirs, config.model.heads))
    for _, mine, other, turn, added in known:
        other.data = turn(mine.data) + added if added else turn(mine.data)  # matrices without a second copy
    batch = micro_of(config, 1)
    loss, reference = Loss(7, ALONE)(ours, batch), their_loss(theirs, batch.tokens)
    assert loss.item() == pytest.approx(reference.item(), rel=1e-6)
    large = [[one] for one in known if one[1].numel() > 10**8]
    for group in [*large, [one for one in known if one[1].numel() <= 10**8]]:
        grads = torch.autograd.grad(loss, [one[1] for one in group], retain_graph=True)
        expected = torch.autograd.grad(reference, [one[2] for one in group], retain_graph=True)
        for (name, _, _, turn, _), mine, other in zip(group, grads, expected, strict=True):
            assert "qkv.b" in name or differ(turn(mine), other) < 1e-4, name

