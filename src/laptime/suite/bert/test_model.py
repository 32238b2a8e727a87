"""The network: size, names, initialisation, packing, and a whole training step against an independent implementation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from laptime.rules.load import load_round
from laptime.suite.bert.config import ModelConfig, full
from laptime.suite.bert.data import synthetic
from laptime.suite.bert.model import Bert, initialise, reference_names
from laptime.suite.bert.samples import Micro
from laptime.suite.bert.train import Loss, build_optimizer
from laptime.training.distributed.world import World
from laptime.training.optim.clip import NormClip
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
TINY = replace(full().model, layers=2, hidden=16, heads=2, intermediate=32, positions=24, vocabulary=50)
TINY_CONFIG = replace(full(), model=TINY, data=replace(full().data, length=24, predictions=4))


def network(config, seed=1, dtype=torch.float64):
    model = Bert(config)
    initialise(model, Seeds(seed).torch("init"), config.initial_std)
    return model.to(dtype)


def test_full_model_has_the_published_size():
    with torch.device("meta"):
        model = Bert(full().model)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in
              (("embeddings", model.bert.embeddings), ("layer", model.bert.encoder["layer_0"]), ("pooler", model.bert.pooler),
               ("heads", model.cls))}
    assert counts == {"embeddings": 31_782_912, "layer": 12_596_224, "pooler": 1_049_600, "heads": 1_084_220}
    assert sum(p.numel() for p in model.parameters()) == 336_226_108


def test_reference_names_are_those_that_rounds_ask_for():
    with torch.device("meta"):
        names = list(reference_names(Bert(full().model)).values())
    assert len(names) == 398
    assert sorted(names) == sorted(load_round("v2.0").benchmarks["bert"].tensors)


def test_initial_weights_are_cut_normal_biases_zero_norms_one():
    model = network(replace(TINY, hidden=256, intermediate=512), dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if name.endswith("LayerNorm.weight"):
            assert (parameter == 1).all(), name
        elif parameter.ndim == 1:
            assert not parameter.any(), name
        else:
            assert parameter.abs().max() <= 0.04, name
    weight = model.bert.encoder["layer_1"].output.dense.weight
    assert weight.std().item() == pytest.approx(0.02 * 0.8796, rel=0.01)  # a unit normal cut at two has 0.8796


def test_sequences_do_not_see_each_other():
    """Scores of packed sequences are those of each sequence alone."""
    model = network(TINY).eval()
    together = synthetic(TINY_CONFIG, 5, ALONE)
    words, following = model(together.tokens, together.masked)
    begin, done = 0, 0
    for i, length in enumerate(together.tokens.packing.lengths):
        alone = one_of(together, begin, length)
        found, next_scores = model(alone.tokens, alone.masked)
        assert torch.allclose(found, words[done:done + len(found)], rtol=1e-10, atol=1e-12)
        assert torch.allclose(next_scores[0], following[i], rtol=1e-10, atol=1e-12)
        begin, done = begin + length, done + len(found)


def one_of(batch, begin, length):
    """The sequence of `length` tokens at `begin` of a packed batch, alone."""
    tokens, part = batch.tokens, slice(begin, begin + length)
    packing = type(tokens.packing)((length,))
    inside = (batch.masked >= begin) & (batch.masked < begin + length)
    alone = replace(tokens, packing=packing, bounds=torch.tensor([0, length], dtype=torch.int32), numbers=tokens.numbers[part],
                    segments=tokens.segments[part], positions=tokens.positions[part], keys=tokens.keys[part])
    return Micro(alone, batch.masked[inside] - begin, batch.labels[inside], batch.weights[inside], batch.next_labels[:1])


def test_dropout_is_a_function_of_the_sample_not_of_its_place_in_the_batch():
    model = network(TINY).train()
    batch = synthetic(TINY_CONFIG, 4, ALONE)
    torch.testing.assert_close(model(batch.tokens, batch.masked), model(batch.tokens, batch.masked), rtol=0, atol=0)
    words, _ = model(batch.tokens, batch.masked)
    first = one_of(batch, 0, batch.tokens.packing.lengths[0])
    found, _ = model(first.tokens, first.masked)
    assert torch.allclose(found, words[:len(found)], rtol=1e-10, atol=1e-12)
    assert not torch.allclose(found, model.eval()(first.tokens, first.masked)[0], rtol=1e-3)


def test_positions_matter_unless_they_are_unknown():
    batch = synthetic(TINY_CONFIG, 3, ALONE)
    moved = replace(batch.tokens, positions=batch.tokens.positions.flip(0))
    for known in (True, False):
        model = network(replace(TINY, positions_known=known)).eval()
        same = torch.allclose(model(batch.tokens, batch.masked)[0], model(moved, batch.masked)[0])
        assert same != known


# --- a whole step at the real widths, against another implementation ---

CUT = replace(full(), global_batch_size=3, loss_span=3,
              model=replace(full().model, layers=2, dropout=0.0, attention_dropout=0.0),
              data=replace(full().data, length=96, predictions=15))


def their_model():
    transformers = pytest.importorskip("transformers")
    model = CUT.model
    config = transformers.BertConfig(
        vocab_size=model.vocabulary, hidden_size=model.hidden, num_hidden_layers=model.layers, num_attention_heads=model.heads,
        intermediate_size=model.intermediate, hidden_act="gelu_pytorch_tanh", hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, max_position_embeddings=model.positions, layer_norm_eps=1e-12)
    with torch.device("meta"):  # their initialisation is not needed
        theirs = transformers.BertForPreTraining(config)
    theirs = theirs.to_empty(device="cpu")
    theirs.bert.embeddings.position_ids = torch.arange(model.positions)[None]
    theirs.bert.embeddings.token_type_ids = torch.zeros(1, model.positions, dtype=torch.int64)
    theirs.tie_weights()
    return theirs.double().train()


def their_name(name):
    """Our parameter name -> transformers' name."""
    name = name.replace("encoder.layer_", "encoder.layer.")
    for ours, theirs in (("cls.predictions.output_bias", "cls.predictions.bias"),
                         ("cls.seq_relationship.output_weights", "cls.seq_relationship.weight"),
                         ("cls.seq_relationship.output_bias", "cls.seq_relationship.bias")):
        name = name.replace(ours, theirs)
    return name


def padded(batch):
    """The same batch as the other implementation takes it: (B, longest) with a mask; labels -100 where none is asked."""
    packing = batch.tokens.packing
    shape = len(packing.lengths), max(packing.lengths)
    numbers, segments, mask = (torch.zeros(shape, dtype=torch.int64) for _ in range(3))
    labels = torch.full((packing.tokens,), -100)
    labels[batch.masked] = batch.labels
    wanted = torch.full(shape, -100)
    for i, (begin, length) in enumerate(zip(packing.bounds, packing.lengths, strict=False)):
        part = slice(int(begin), int(begin) + length)
        numbers[i, :length], segments[i, :length] = batch.tokens.numbers[part], batch.tokens.segments[part]
        mask[i, :length], wanted[i, :length] = 1, labels[part]
    return numbers, segments, mask, wanted


@pytest.mark.seconds
def test_loss_and_every_gradient_equal_the_other_implementation_at_real_widths():
    ours, theirs = network(CUT.model), their_model()
    parameters = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        parameters[their_name(name)].data.copy_(parameter.data)
    generator = torch.Generator().manual_seed(5)
    for parameter in (p for p in ours.parameters() if p.ndim == 1):  # biases that are not zero, gains that are not one
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    for name, parameter in ours.named_parameters():
        parameters[their_name(name)].data.copy_(parameter.data)
    batch = synthetic(CUT, 3, ALONE)
    loss = Loss(3)(ours, batch)
    loss.backward()
    numbers, segments, mask, wanted = padded(batch)
    result = theirs(numbers, attention_mask=mask, token_type_ids=segments)
    count = len(batch.labels)
    other = (F.cross_entropy(result.prediction_logits.flatten(0, 1), wanted.flatten(), reduction="sum") / (count + 1e-5)
             + F.cross_entropy(result.seq_relationship_logits, batch.next_labels))
    other.backward()
    assert loss.item() == pytest.approx(other.item(), rel=1e-12)
    names = [name for name, _ in ours.named_parameters()]
    assert {their_name(name) for name in names} == set(parameters)
    for name, parameter in ours.named_parameters():
        expected = parameters[their_name(name)].grad
        error = (parameter.grad - expected).norm() / expected.norm().clamp(min=1e-12)
        # the key bias has no influence (softmax is blind to it): both gradients are rounding errors
        assert error < 1e-9 or expected.norm() < 1e-12, (name, error.item())


def test_whole_update_is_clipped_lamb_in_float64_loops():
    """One optimizer step of the assembled parts against the formulas, tensor by tensor."""
    model = network(TINY)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = build_optimizer(replace(full().optimizer, epsilon=1e-6, weight_decay=0.1), model)
    optimizer.rate.fill_(0.01)
    Loss(4)(model, synthetic(replace(TINY_CONFIG, global_batch_size=4), 4, ALONE)).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    norm = np.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
    assert norm > 1.0
    NormClip(model.parameters(), 1.0)()
    optimizer.step()
    for name, parameter in model.named_parameters():
        g, w = gradients[name] / norm, before[name]
        u = g / (g.abs() + 1e-6)  # first step: both corrections cancel the betas
        spared = "LayerNorm" in name or "bias" in name
        u = u if spared else u + 0.1 * w
        ratio = 1.0 if spared or not w.norm() or not u.norm() else (w.norm() / u.norm()).item()
        assert torch.allclose(parameter, w - 0.01 * ratio * u, rtol=1e-8, atol=1e-12), name


def test_optimizer_spares_norms_and_biases_but_no_embedding():
    with torch.device("meta"):
        model = Bert(full().model)
    optimizer = build_optimizer(full().optimizer, model)
    names = {id(p): name for name, p in model.named_parameters()}
    adapted, spared = ([names[id(p)] for p in group["params"]] for group in optimizer.param_groups)
    assert len(adapted) + len(spared) == 398
    assert {"bert.embeddings.word_embeddings.weight", "cls.seq_relationship.output_weights"} <= set(adapted)
    assert {"cls.predictions.output_bias", "cls.seq_relationship.output_bias"} <= set(spared)
    assert optimizer.param_groups[1]["weight_decay"] == 0.0
    assert not optimizer.param_groups[1]["adapt"]


def test_presets_of_the_model_configuration_are_plain():
    assert ModelConfig() == full().model
