"""The network: size, names, initialisation, decoding, and a whole training step against plain loops in float64."""

import math
from dataclasses import replace

import pytest
import torch

from laptime.rules.load import load_round
from laptime.suite.rnnt import joint
from laptime.suite.rnnt.config import ModelConfig, full
from laptime.suite.rnnt.decode import Limits, greedy
from laptime.suite.rnnt.model import NAMES, RNNT, initialise, stacked
from laptime.suite.rnnt.reader import Micro
from laptime.suite.rnnt.train import GradientGuard, Loss, build_optimizer, build_schedule
from laptime.training.nn.transducer_loss import lattice, transducer_loss
from laptime.training.seeds import Seeds

TINY = ModelConfig(encoder_width=8, pre_layers=1, post_layers=2, prediction_width=6, prediction_layers=2, joint_width=7,
                   vocabulary=5, encoder_dropout=0.0, prediction_dropout=0.0, joint_dropout=0.0)


def network(config, features=4, seed=1, dtype=torch.float64):
    model = RNNT(config, features)
    initialise(model, Seeds(seed).torch("init"))
    return model.to(dtype)


def micro_of(config, features, frames, labels, seed=3):
    """A micro-batch of noise; what lies beyond an utterance's own frames and labels is noise too."""
    generator = Seeds(seed).torch("noise")
    x = torch.randn(max(frames), len(frames), features, generator=generator, dtype=torch.float64)
    padded = torch.randint(config.vocabulary, (max(map(len, labels)), len(labels)), generator=generator)
    for b, one in enumerate(labels):
        padded[:len(one), b] = torch.tensor(one, dtype=torch.int64)
    cells = lattice([-(-t // config.time_stack) for t in frames], labels)
    keys = torch.arange(len(frames), dtype=torch.int32) * 7919
    return Micro(x, torch.tensor(frames), padded, keys, cells)


def test_full_model_has_the_size_derived_from_its_tables():
    with torch.device("meta"):
        model = RNNT(full().model, 240)
    counts = {name: sum(p.numel() for p in model.get_submodule(name).parameters()) for name in NAMES}
    assert counts == {"pre_rnn": 13_582_336, "post_rnn": 29_384_704, "pred_embed": 523_776, "dec_rnn": 4_202_496,
                      "joint_enc": 524_800, "joint_pred": 262_656, "joint_net": 525_312}
    assert sum(p.numel() for p in model.parameters()) == 49_006_080


def test_full_model_has_the_reference_s_shapes():
    with torch.device("meta"):
        model = RNNT(full().model, 240)
        assert model.encode(torch.empty(7, 2, 240), torch.tensor([7, 5])).shape == (4, 2, 1024)
        assert model.predict(torch.zeros(3, 2, dtype=torch.int64)).shape == (4, 2, 512)
        assert model.joint(torch.empty(9, 512), torch.empty(9, 512)).shape == (9, 1024)


def test_initialised_names_are_those_that_rounds_ask_for():
    assert sorted(NAMES) == sorted(load_round("v2.0").benchmarks["rnnt"].tensors)
    children = {name.split(".")[0] for name, _ in RNNT(TINY, 4).named_parameters()}
    assert children == set(NAMES)


def test_initialisation_is_torch_s_with_forget_biases_and_scaled_lstms():
    model = network(replace(TINY, encoder_width=64, initialisation_scale=0.5), dtype=torch.float32)
    lstm = model.pre_rnn.layers[0]
    bound = 0.5 / 64**0.5
    assert lstm.weight_hh_l0.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert lstm.weight_hh_l0.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)
    assert lstm.bias_ih_l0[64:128].eq(0.5).all()
    assert lstm.bias_hh_l0[64:128].eq(0).all()
    assert lstm.bias_ih_l0[:64].abs().max() <= bound
    assert lstm.bias_hh_l0[128:].ne(0).all()
    assert model.joint_enc.weight.abs().max().item() == pytest.approx(1 / 64**0.5, rel=0.02)
    assert model.joint_enc.bias.abs().max().item() > 0.5 / 64**0.5
    assert 0.6 < model.pred_embed.weight.std().item() < 1.4


def test_initialisation_depends_on_the_seed_only():
    one, same, other = network(TINY, seed=1), network(TINY, seed=1), network(TINY, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.joint_net.weight, other.joint_net.weight)


def test_stacking_joins_neighbours_and_knows_nothing_beyond_an_utterance():
    x = torch.arange(1.0, 11.0).view(5, 2, 1)
    assert stacked(x, torch.tensor([5, 3]), 2).tolist() == [[[1, 3], [2, 4]], [[5, 7], [6, 0]], [[9, 0], [0, 0]]]


def test_loss_of_an_utterance_does_not_depend_on_its_neighbours():
    model = network(TINY)
    both = micro_of(TINY, 4, [9, 5], [[1, 2, 3], [4]])
    alone = Micro(both.features_TBF[:5, 1:], both.frames_B[1:], both.labels_UB[:1, 1:], both.keys_B[1:], lattice([3], [[4]]))
    first = Micro(both.features_TBF[:, :1], both.frames_B[:1], both.labels_UB[:, :1], both.keys_B[:1], lattice([5], [[1, 2, 3]]))
    loss = Loss(1, torch.float64)
    assert loss(model, both).item() == pytest.approx(loss(model, alone).item() + loss(model, first).item(), rel=1e-12)


def test_dropout_of_an_utterance_does_not_depend_on_its_neighbours():
    model = network(replace(TINY, encoder_dropout=0.2, prediction_dropout=0.3, joint_dropout=0.3)).train()
    both = micro_of(TINY, 4, [8, 8], [[1, 2], [4, 3]])
    parts = [Micro(both.features_TBF[:, b:b + 1], both.frames_B[b:b + 1], both.labels_UB[:, b:b + 1], both.keys_B[b:b + 1],
                   lattice([4], [both.labels_UB[:, b].tolist()])) for b in range(2)]
    loss = Loss(1, torch.float64)
    found = loss(model, both).item()
    assert found == pytest.approx(sum(loss(model, part).item() for part in parts), rel=1e-12)
    assert found != pytest.approx(loss(model.eval(), both).item(), rel=1e-3)


def test_cells_computed_in_parts_give_the_same_loss_and_gradients():
    whole, parts = network(TINY), network(replace(TINY, cells_at_a_time=7))
    micro = micro_of(TINY, 4, [9, 5], [[1, 2, 3], [4]])
    for model in (whole, parts):
        Loss(2, torch.float64)(model, micro).backward()
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_cells_computed_in_a_cache_give_the_same_scores_and_gradients(monkeypatch, dropout):
    model = network(replace(TINY, joint_dropout=dropout)).train()
    micro = micro_of(TINY, 4, [19, 5, 2], [[1, 2, 3], [4], []])
    found = []
    for size in (1 << 20, 7 * 6 * 8, 1):  # bytes: apart, then blocks of several frames and of one
        monkeypatch.setattr(joint, "CACHED_BYTES", size)
        model.zero_grad()
        Loss(2, torch.float64)(model, micro).backward()
        blank, label = model(micro.features_TBF, micro.frames_B, micro.labels_UB, micro.cells, micro.keys_B)
        found.append([blank, label, *(p.grad for p in model.parameters())])
    assert type(found[1][0].grad_fn).__name__ == "_ScoresBackward" != type(found[0][0].grad_fn).__name__
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.allclose(a, b, rtol=1e-10, atol=1e-14)


def test_cells_without_posterior_have_no_part_in_the_gradient(monkeypatch):
    """float32: a lattice so long that its far corners are hopeless; rows without gradient are left out."""
    monkeypatch.setattr(joint, "CACHED_BYTES", 1 << 10)
    model = network(TINY, dtype=torch.float32)
    micro = micro_of(TINY, 4, [200], [[1, 2, 3, 4] * 20])
    generator = Seeds(4).torch("projected")
    f, g = ((3.0 * torch.randn(steps, 1, 7, generator=generator)).requires_grad_() for steps in (100, 81))
    blank, label = model.scores(f, g, micro.cells, micro.keys_B)
    to_blank, to_label = torch.autograd.grad(transducer_loss(blank, label, micro.cells).sum(), (blank, label), retain_graph=True)
    assert ((to_blank == 0) & (to_label == 0)).float().mean() > 0.05
    torch.autograd.backward((blank, label), (to_blank, to_label))
    exact = network(TINY)
    f64, g64 = (one.detach().double().requires_grad_() for one in (f, g))
    transducer_loss(*exact.scores(f64, g64, micro.cells, micro.keys_B), micro.cells).sum().backward()
    for one, other in ((f, f64), (g, g64), (model.joint_net.weight, exact.joint_net.weight)):
        assert (one.grad - other.grad).norm() < 1e-4 * other.grad.norm()


def test_network_that_hears_no_labels_gives_the_same_scores_whatever_they_are():
    model = network(replace(TINY, hears_labels=False))
    one, other = torch.tensor([[1], [2]]), torch.tensor([[3], [0]])
    assert torch.equal(model.predict(one), model.predict(other))
    assert not torch.equal(network(TINY).predict(one), network(TINY).predict(other))


# --- a whole step at real widths, depth cut, against loops written from the description of the benchmark ---

CUT = replace(full().model, pre_layers=1, post_layers=1, prediction_layers=1, encoder_dropout=0.0, prediction_dropout=0.0,
              joint_dropout=0.0)
FRAMES, LABELS = [7, 4], [[5, 1022, 17], [800]]


def lstm_by_hand(weights, prefix, inputs):
    """Outputs of one LSTM layer for a list of vectors (Hochreiter & Schmidhuber 1997 with forget gates), gate by gate."""
    w_ih, w_hh, b_ih, b_hh = (weights[f"{prefix}.{kind}_l0"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    width = w_hh.shape[1]
    h = c = torch.zeros(width, dtype=torch.float64)
    outputs = []
    for x in inputs:
        gates = w_ih @ x + b_ih + w_hh @ h + b_hh
        i, f, g, o = (gates[k * width:(k + 1) * width] for k in range(4))
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    return outputs


def loss_by_hand(weights, x, labels):
    """Negative log likelihood of one utterance: x is a list of feature vectors, labels a list of ids."""
    low = lstm_by_hand(weights, "pre_rnn.layers.0", x)
    if len(low) % 2:
        low.append(torch.zeros_like(low[0]))
    high = lstm_by_hand(weights, "post_rnn.layers.0", [torch.cat([low[i], low[i + 1]]) for i in range(0, len(low), 2)])
    embedded = [torch.zeros(512, dtype=torch.float64), *(weights["pred_embed.weight"][label] for label in labels)]
    heard = lstm_by_hand(weights, "dec_rnn.layers.0", embedded)
    alpha = {}
    for t, f in enumerate(high):
        for u, g in enumerate(heard):
            hidden = torch.relu(weights["joint_enc.weight"] @ f + weights["joint_enc.bias"]
                                + weights["joint_pred.weight"] @ g + weights["joint_pred.bias"])
            scores = torch.log_softmax(weights["joint_net.weight"] @ hidden + weights["joint_net.bias"], 0)
            arriving = [alpha[t - 1, u][0] + alpha[t - 1, u][1][1023]] if t else []
            arriving += [alpha[t, u - 1][0] + alpha[t, u - 1][1][labels[u - 1]]] if u else []
            reach = torch.logsumexp(torch.stack(arriving), 0) if arriving else torch.zeros((), dtype=torch.float64)
            alpha[t, u] = reach, scores
    reach, scores = alpha[len(high) - 1, len(labels)]
    return -(reach + scores[1023])


@pytest.fixture(scope="module")
def step():
    """(our model, its loss, gradients and loss by hand) of two utterances at real widths."""
    model = network(CUT, 240)
    micro = micro_of(CUT, 240, FRAMES, LABELS)
    loss = Loss(2, torch.float64)(model, micro)
    loss.backward()
    weights = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    expected = sum(loss_by_hand(weights, list(micro.features_TBF[:frames, b]), labels)
                   for b, (frames, labels) in enumerate(zip(FRAMES, LABELS, strict=True))) / 2
    expected.backward()
    return model, loss, {name: p.grad for name, p in weights.items()}, expected


def test_loss_of_a_step_equals_the_loops(step):
    _, loss, _, expected = step
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)


def test_every_gradient_of_a_step_equals_the_loops(step):
    model, _, expected, _ = step
    for name, parameter in model.named_parameters():
        assert expected[name].norm() > 0, name
        assert (parameter.grad - expected[name]).norm() <= 1e-10 * expected[name].norm(), name


def test_weights_after_two_optimizer_steps_equal_a_plain_loop(step):
    """The full preset's clipping, LAMB and schedule in mid warm-up, per tensor from the published formula."""
    source, config = step[0], full()
    model = network(CUT, 240)
    for parameter, other in zip(model.parameters(), source.parameters(), strict=True):
        parameter.grad = 50.0 * other.grad
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters()))
    assert norm > 1
    gradients = {name: p.grad / norm for name, p in model.named_parameters()}
    expected = {name: p.detach().clone() for name, p in model.named_parameters()}
    m, v = ({name: torch.zeros_like(p) for name, p in expected.items()} for _ in range(2))
    optimizer, schedule = build_optimizer(config.optimizer, model), build_schedule(config.optimizer, config.schedule, 272)
    GradientGuard(model, 1.0)()
    for t in (1, 2):
        rate = 0.004 * (100 + t) / (6 * 272 + 1)
        for name, g in gradients.items():
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g * g
            u = m[name] / (1 - 0.9**t) / ((v[name] / (1 - 0.999**t)).sqrt() + 1e-9) + 0.001 * expected[name]
            expected[name] = expected[name] - rate * expected[name].norm() / u.norm() * u
        optimizer.rate.fill_(schedule.value(99 + t))
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter, expected[name], rtol=1e-9, atol=1e-13), name


# --- decoding ---

def greedy_by_hand(model, x, limits):
    """One utterance, frame by frame, with the network's own parts but one cell at a time."""
    f = model.joint_enc(model.encode(x[:, None], torch.tensor([len(x)])))[:, 0]
    said = []
    for frame in f:
        if len(said) > limits.total:
            break
        for _ in range(limits.per_frame):
            heard = model.predict(torch.tensor(said, dtype=torch.int64)[:, None])[-1]
            best = int(model.joint(frame[None], model.joint_pred(heard)).argmax())
            if best == model.config.vocabulary:
                break
            said.append(best)
    return said


@pytest.mark.parametrize(("per_frame", "total"), [(30, 300), (2, 300), (30, 5), (1, 3)])
def test_batched_decoding_equals_one_utterance_at_a_time(per_frame, total):
    model = network(TINY, seed=6)
    with torch.no_grad():
        model.joint_net.weight.mul_(12.0)
        model.joint_enc.weight.mul_(6.0)
        model.joint_net.bias[-1] += 1.0
    micro = micro_of(TINY, 4, [15, 20, 3, 1], [[1]] * 4, seed=8)
    limits = Limits(per_frame, total)
    found = greedy(model.eval(), micro.features_TBF, micro.frames_B, limits)
    with torch.no_grad():
        expected = [greedy_by_hand(model, micro.features_TBF[:frames, b], limits) for b, frames in enumerate([15, 20, 3, 1])]
    assert found == expected
    assert max(map(len, found)) > 1


def test_decoding_of_a_network_that_never_stops_ends_at_its_limits():
    model = network(TINY).eval()
    with torch.no_grad():
        model.joint_net.bias[:] = torch.tensor([9.0, 0, 0, 0, 0, -9.0])
    micro = micro_of(TINY, 4, [30], [[1]])
    assert len(greedy(model, micro.features_TBF, micro.frames_B, Limits(4, 9))[0]) == 12  # 10 > 9 at a frame's start
