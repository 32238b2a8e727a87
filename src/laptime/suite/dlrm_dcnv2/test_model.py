"""The network: size, initialisation, a whole step at real widths against plain modules, the split over two processes."""

from dataclasses import replace

import pytest
import torch

from laptime.config import override
from laptime.suite.dlrm_dcnv2.config import BAGS, ROWS, full, mini
from laptime.suite.dlrm_dcnv2.data import Micro
from laptime.suite.dlrm_dcnv2.model import DLRM, LowRankCross, initialise
from laptime.suite.dlrm_dcnv2.train import Loss, build_optimizer
from laptime.training.distributed.world import World
from laptime.training.nn import kept_gradients
from laptime.training.nn.embedding_tables import Lookups, grouped, starts_of
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
META = World(0, 1, torch.device("meta"))
SAMPLES = 6
CUT = replace(full().model, rows=tuple(min(rows, 50) for rows in ROWS))  # every width is the real one


def network(config, seed=1, dtype=torch.float32):
    model = DLRM(config, ALONE)
    initialise(model, Seeds(seed))
    return model.to(dtype)


def test_full_model_has_the_published_size():
    with torch.device("meta"):
        model = DLRM(full().model, META)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert counts == {"bottom": 171_392, "tables": 204_184_588 * 128, "cross": 10_627_200, "top": 5_245_953}


def test_full_model_on_the_meta_device_gives_one_logit_per_sample():
    with torch.device("meta"):
        model = DLRM(full().model, META)
        logits = model(torch.empty(5, 13), Lookups(torch.empty(5, 214, dtype=torch.int64)))
    assert logits.shape == (5,)


def test_published_tables_and_bags():
    assert (len(ROWS), sum(ROWS), len(BAGS), sum(BAGS)) == (26, 204_184_588, 26, 214)


def test_initial_values_have_the_published_spread():
    model = network(replace(CUT, rows=(50,) * 25 + (4000,)))
    last = model.tables.weight[25 * 50:]
    assert last.abs().max().item() == pytest.approx(4000**-0.5, rel=1e-3)
    assert last.std().item() == pytest.approx((3 * 4000) ** -0.5, rel=0.01)
    for layer in (*model.cross.v, *model.cross.w):
        assert layer.weight.std().item() == pytest.approx((2 / (3456 + 512)) ** 0.5, rel=0.01)
    assert not any(layer.bias.any() for layer in model.cross.w)
    for layer in (*model.bottom, *model.top):
        assert layer.weight.abs().max().item() == pytest.approx(layer.in_features**-0.5, rel=0.02)
        assert 0 < layer.bias.abs().max().item() <= layer.in_features**-0.5


def test_initialisation_depends_on_the_seed_only():
    small = mini().model
    one, same, other = network(small, 1), network(small, 1), network(small, 2)
    for a, b, c in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c) or not a.any()


def test_tables_start_equal_whoever_owns_them():
    small = mini().model
    whole = network(small).tables
    for rank in range(2):
        part = DLRM(small, World(rank, 2, torch.device("cpu")))
        initialise(part, Seeds(1))
        for k, start, rows in zip(part.tables.own, part.tables.starts, part.tables.rows, strict=True):
            there = starts_of(small.rows)[k]
            assert torch.equal(part.tables.weight[start:start + rows], whole.weight[there:there + rows])


# --- a whole step of the full preset at real widths, against plain modules in float64 ---

class Plain(torch.nn.Module):
    """Written from the published description: one EmbeddingBag per table, explicit matrix products, a loop over layers."""

    def __init__(self, ours):
        super().__init__()
        double = {"dtype": torch.float64}
        self.bags = torch.nn.ModuleList(torch.nn.EmbeddingBag(rows, 128, mode="sum", **double) for rows in CUT.rows)
        for bag, start, rows in zip(self.bags, starts_of(CUT.rows), CUT.rows, strict=True):
            bag.weight.data.copy_(ours.tables.weight[start:start + rows])
        for name in ("bottom", "top"):
            layers = []
            for layer in getattr(ours, name):
                copy = torch.nn.Linear(layer.in_features, layer.out_features, **double)
                copy.load_state_dict(layer.state_dict())
                layers += [copy, torch.nn.ReLU()]
            self.add_module(name, torch.nn.Sequential(*(layers[:-1] if name == "top" else layers)))
        self.v, self.w, self.b = (torch.nn.ParameterList(tensor.detach().clone() for tensor in tensors) for tensors in (
            [layer.weight for layer in ours.cross.v], [layer.weight for layer in ours.cross.w],
            [layer.bias for layer in ours.cross.w]))

    def forward(self, dense, ids):
        vectors = [self.bottom(dense), *(bag(one) for bag, one in zip(self.bags, ids, strict=True))]
        first = torch.hstack(vectors)
        x = first
        for v, w, b in zip(self.v, self.w, self.b, strict=True):
            x = first * ((x @ v.T) @ w.T + b) + x
        return self.top(x).squeeze(1)


def sample_ids(seed=5):
    generator = Seeds(seed).torch("ids")
    return [torch.randint(rows, (SAMPLES, bag), generator=generator) for rows, bag in zip(CUT.rows, CUT.bags, strict=True)]


def micro_of(ids, dense, labels):
    flat = torch.cat([one + start for one, start in zip(ids, starts_of(CUT.rows), strict=True)], dim=1)
    return Micro(dense, labels, Lookups(flat, grouped(flat, CUT.bags)))


@pytest.fixture(scope="module")
def step():
    """(ours, theirs) after forward and backward on equal weights, and both losses."""
    ours = network(CUT, dtype=torch.float64)
    with torch.no_grad():
        for layer in ours.cross.w:  # nothing stays at a special value
            layer.bias.normal_(0.0, 0.1, generator=Seeds(2).torch("noise"))
    theirs = Plain(ours)
    generator = Seeds(3).torch("dense")
    dense = 4 * torch.rand(SAMPLES, 13, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    ids = sample_ids()
    loss = Loss(SAMPLES, torch.float64)(ours, micro_of(ids, dense, labels))
    loss.backward()
    probability = torch.sigmoid(theirs(dense, ids))
    their_loss = -(labels * probability.log() + (1 - labels) * (1 - probability).log()).mean()
    their_loss.backward()
    return ours, theirs, loss, their_loss


def their_tensors(theirs, *, gradient):
    """Our name -> their tensor (or its gradient)."""
    def of(tensor):
        return tensor.grad if gradient else tensor

    found = {"tables.weight": torch.cat([of(bag.weight) for bag in theirs.bags])}
    for name in ("bottom", "top"):
        for i, layer in enumerate(layer for layer in getattr(theirs, name) if isinstance(layer, torch.nn.Linear)):
            found |= {f"{name}.{i}.weight": of(layer.weight), f"{name}.{i}.bias": of(layer.bias)}
    for i in range(3):
        found |= {f"cross.v.{i}.weight": of(theirs.v[i]), f"cross.w.{i}.weight": of(theirs.w[i]),
                  f"cross.w.{i}.bias": of(theirs.b[i])}
    return found


def test_loss_of_a_step_equals_the_independent_one(step):
    assert step[2].item() == pytest.approx(step[3].item(), rel=1e-12)


def test_every_gradient_of_a_step_equals_the_independent_one(step):
    ours, theirs, _, _ = step
    expected = their_tensors(theirs, gradient=True)
    assert set(expected) == {name for name, _ in ours.named_parameters()}
    for name, parameter in ours.named_parameters():
        found = parameter.grad.to_dense()
        assert expected[name].any(), name
        assert (found - expected[name]).norm() <= 1e-10 * expected[name].norm(), name


def test_weights_after_two_updates_equal_torch_s_own_adagrad(step):
    """Adagrad of the full preset on the gradients of the step, twice; dense tables there, touched rows here."""
    ours, theirs, _, _ = step
    optimizer = build_optimizer(full().optimizer, ours)
    reference = torch.optim.Adagrad(theirs.parameters(), lr=0.004, eps=1e-8)
    for _ in range(2):
        optimizer.rate.fill_(0.004)
        optimizer.step()
        reference.step()
    for name, expected in their_tensors(theirs, gradient=False).items():
        found = ours.get_parameter(name)
        assert torch.allclose(found, expected, rtol=1e-8, atol=1e-9), name  # where g is tiny, g / (|g| + eps) is not


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_cross_layers_as_one_equal_single_ones_in_every_gradient(layers, monkeypatch):
    monkeypatch.setattr(kept_gradients, "KEPT_BYTES", 1)
    cross = LowRankCross(11, 3, layers).double()
    x = torch.randn(5, 11, dtype=torch.float64, requires_grad=True)
    factors = torch.randn(5, 11, dtype=torch.float64)
    results = []
    for whole in (True, True, False):  # the second time in the gradients' memory of the first
        monkeypatch.setattr(LowRankCross, "_whole", lambda self, x, whole=whole: whole)
        y = cross(x)
        assert ("_Crossed" in type(y.grad_fn).__name__) is whole
        gradients = torch.autograd.grad((y * factors).sum(), [x, *cross.parameters()])
        results.append([y.detach(), *(one.clone() for one in gradients)])
    for mine, again, theirs in zip(*results, strict=True):
        assert torch.equal(mine, again)
        assert torch.allclose(mine, theirs, rtol=1e-12, atol=1e-14)


def test_cross_layers_leave_the_gradient_that_comes_in_as_it_was():
    cross, x, given = LowRankCross(11, 3, 2), torch.randn(5, 11, requires_grad=True), torch.randn(5, 11)
    before = given.clone()
    cross(x).backward(given)
    assert torch.equal(given, before)


def test_cross_layers_are_single_ones_where_autocast_or_the_meta_device_is():
    cross, x = LowRankCross(11, 3, 2), torch.randn(5, 11)
    with torch.autocast("cpu", torch.bfloat16):
        assert not cross._whole(x)
    assert not cross._whole(x.to("meta"))
    assert cross._whole(x)


def test_cross_network_without_layers_changes_nothing():
    config = override(mini(), ["model.cross_layers=0"]).model
    model = network(config)
    x = torch.randn(2, 432)
    assert torch.equal(model.cross(x), x)
    assert [name for name, _ in model.named_parameters() if "cross" in name] == []
