"""The session: hyperparameters from live objects, golden losses, evaluation, validation, the official checker."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from judged import accepted, errors
from played import played_log

from laptime.benchmark import Context
from laptime.config import override
from laptime.errors import IllegalRun, InvalidConfiguration
from laptime.events import Cadence, Plan, Point
from laptime.rules.load import load_round
from laptime.suite.dlrm_dcnv2 import shortcuts, train
from laptime.suite.dlrm_dcnv2.config import PRESETS, full, mini, smoke, validate
from laptime.suite.dlrm_dcnv2.data import EvalBatch, EvalBatches, generate, sizes, synthetic_batches, synthetic_rows
from laptime.suite.dlrm_dcnv2.model import DLRM
from laptime.suite.dlrm_dcnv2.published import facts
from laptime.training import state as state_module
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.checkpoint import Saver, load
from laptime.training.distributed.world import World
from laptime.training.nn.embedding_tables import Lookups
from laptime.training.optim.adagrad import Adagrad
from laptime.training.optim.warmup import Warmed
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
ROUNDS = ["v3.0", "v3.1", "v4.0", "v4.1", "v5.0", "v5.1", "v6.0"]
TINY = override(smoke(), ["global_batch_size=32", "speed.dtype=float64"])


def session_of(config, tmp_path, world=ALONE):
    store = Store(tmp_path, Manifest("none", "", "", facts(config), {}))
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,)), sizes(config, store.metadata))
    return train.build(config, Context(world, store, Seeds(5), plan, tmp_path))


def test_first_losses_are_the_golden_ones(tmp_path):
    golden = json.loads(Path(train.__file__).with_name("golden.json").read_text())["first_losses"]["adagrad"]
    session, (batch, *_) = session_of(TINY, tmp_path), synthetic_batches(TINY, ALONE)
    assert [session.step(batch).item() for _ in golden] == pytest.approx(golden, rel=1e-9)


def test_hyperparameters_of_the_full_preset_are_the_reference_s(tmp_path):
    with torch.device("meta"):
        values = session_of(full(), tmp_path, World(0, 1, torch.device("meta"))).hyperparameters
    assert values == {
        "global_batch_size": 65536, "gradient_accumulation_steps": 1, "opt_name": "adagrad", "opt_base_learning_rate": 0.004,
        "opt_adagrad_learning_rate_decay": 0.0, "opt_weight_decay": 0.0, "opt_adagrad_initial_accumulator_value": 0.0,
        "opt_adagrad_epsilon": 1e-8, "opt_learning_rate_warmup_steps": 0, "opt_learning_rate_decay_start_step": 0,
        "opt_learning_rate_decay_steps": 0}


def test_hyperparameters_follow_the_live_objects_not_the_configuration():
    optimizer = Adagrad(DLRM(TINY.model, ALONE).parameters(), epsilon=0.5, initial=0.25)
    values = train.hyperparameters(TINY, optimizer, schedule=Warmed(0.125, 0.0, 3), loss=train.Loss(7, torch.float32))
    assert [values[key] for key in ("opt_adagrad_epsilon", "opt_adagrad_initial_accumulator_value", "opt_base_learning_rate",
                                    "opt_learning_rate_warmup_steps", "global_batch_size")] == [0.5, 0.25, 0.125, 3, 7]


def test_rate_is_constant_from_the_first_step(tmp_path):
    session = session_of(TINY, tmp_path)
    for step in (0, 1, 64_000):
        session.schedule.apply(step)
        assert session.optimizer.rate.item() == TINY.optimizer.base_learning_rate


def test_build_is_deterministic_and_names_every_tensor(tmp_path):
    one, other = session_of(TINY, tmp_path), session_of(TINY, tmp_path)
    assert one.state().fingerprint() == other.state().fingerprint()
    assert len(one.initialised) == len(list(one.model.parameters()))


def test_evaluation_counts_only_what_is_not_padding_and_returns_to_training(tmp_path):
    session = session_of(TINY, tmp_path)
    dense, _, lookups = next(synthetic_batches(TINY, ALONE)).micro[0]
    with torch.no_grad():
        order = session.model(dense.double(), lookups).argsort()
    labels, valid = torch.zeros(32), torch.zeros(32, dtype=torch.bool)
    valid[order[[0, 8, 16, 31]]] = True
    labels[order[[8, 31]]] = 1.0  # of four pairs, three are in order
    session.evaluation.batches = [EvalBatch(dense, labels, Lookups(lookups.flat_NL), valid)]
    assert session.evaluation() == {"eval_accuracy": 0.75}
    assert session.model.training


def test_evaluation_of_files_equals_scikit_learn_s_on_the_scores(tmp_path):
    """From files to the area: 101 samples in batches of 40, the last one padded."""
    roc_auc_score = pytest.importorskip("sklearn.metrics", reason="dev extra not installed").roc_auc_score
    config = override(TINY, ["data.train_samples=64", "data.eval_samples=101", "data.eval_batch_size=40"])
    generate(config, tmp_path, 3)
    store = Store.open(tmp_path)
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,)), sizes(config, store.metadata))
    session = train.build(config, Context(ALONE, store, Seeds(5), plan, tmp_path))
    store.unlock()
    with torch.no_grad():
        scored = [(session.model(dense.double(), lookups)[valid], labels[valid])
                  for dense, labels, lookups, valid in EvalBatches(store, config, ALONE)]
    scores, labels = (torch.cat(parts).numpy() for parts in zip(*scored, strict=True))
    assert len(scores) == 101
    assert session.evaluation()["eval_accuracy"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_tables_that_never_learn_stay_as_they_were_drawn(tmp_path):
    session, (batch, *_) = session_of(override(TINY, ["model.tables_learn=false"]), tmp_path), synthetic_batches(TINY, ALONE)
    before = session.model.tables.weight.clone()
    top = session.model.top[0].weight.clone()
    session.step(batch)
    assert torch.equal(session.model.tables.weight, before)
    assert not torch.equal(session.model.top[0].weight, top)


# --- tables too big to copy: warm-up puts aside the rows that it touches ---

BIG = override(TINY, ["model.rows=" + ",".join(["5000"] * 26)])  # a batch touches 32 x 34 of 130,000 rows


@pytest.fixture
def no_copies(monkeypatch):
    monkeypatch.setattr(state_module, "COPIED_BYTES", 1 << 20)


@pytest.mark.parametrize(("held", "changes"), [("whole", []), ("rows", []), ("whole", ["parallel.accumulation_steps=2"])])
@pytest.mark.parametrize("rank", [0, 1])
def test_declared_rows_are_those_in_synthetic_batches(held, changes, rank):
    config, world = override(BIG, [f"parallel.tables={held}", *changes]), World(rank, 2, torch.device("cpu"))
    found = {row for batch in synthetic_batches(config, world) for micro in batch.micro
             for row in micro.lookups.flat_NL.unique().tolist()} - {-1}
    assert synthetic_rows(config, world).tolist() == sorted(found)


def test_warm_up_of_big_tables_is_undone_by_the_rows_it_touches(tmp_path, no_copies):
    session = session_of(BIG, tmp_path)
    state, table = session.state(), session.model.tables.weight
    assert sorted(state.touched) == ["model.tables.weight", "optimizer.group0.param4.sum"]
    whole, aside, before = state.copy(), state.aside(), state.fingerprint()
    kept = aside.parts["model.tables.weight"]
    assert kept.values.nbytes <= table.nbytes / 50
    session.warm_up()
    changed = (table != whole.tensors["model.tables.weight"]).any(1).nonzero()[:, 0]
    assert changed.tolist() == kept.rows.tolist()
    state.restore(aside)
    assert (state.difference(aside), state.difference(whole), state.fingerprint()) == ([], [], before)


@pytest.mark.parametrize("entry", ["model.tables.weight", "optimizer.group0.param4.sum"])
def test_row_that_warm_up_should_not_have_touched_is_seen(tmp_path, no_copies, entry):
    session = session_of(BIG, tmp_path)
    state, rows = session.state(), synthetic_rows(BIG, ALONE).tolist()
    aside = state.aside()
    session.warm_up()
    with torch.no_grad():
        state.tensors[entry][next(row for row in range(129_000, 130_000) if row not in rows), 3] += 1e-9
    state.restore(aside)
    assert state.difference(aside) == [entry]


def test_saved_state_holds_every_row_of_big_tables(tmp_path, no_copies):
    session, saver = session_of(BIG, tmp_path), Saver(ALONE, tmp_path / "saved")
    with torch.no_grad():
        session.model.tables.weight[129_999] = 7.0  # no batch of this test touches it
    path, fingerprint = saver.save(session.state(), 1), session.state().fingerprint()
    saver.finish()
    other = session_of(BIG, tmp_path)
    assert other.state().fingerprint() != fingerprint
    load(other.state(), path, ALONE)
    assert other.state().fingerprint() == fingerprint
    assert torch.equal(other.model.tables.weight, session.model.tables.weight)


@pytest.mark.parametrize("preset", ["mini", "smoke"])
def test_small_tables_are_copied(tmp_path, preset):
    assert session_of(PRESETS[preset](), tmp_path).state().touched == {}


def test_tables_of_the_full_preset_are_put_aside_by_rows(tmp_path):
    with torch.device("meta"):
        state = session_of(full(), tmp_path, World(0, 1, torch.device("meta"))).state()
    assert [state.tensors[name].numel() for name in state.touched] == [26_135_627_264] * 2
    assert sum(one.nbytes for name, one in state.tensors.items() if name not in state.touched) < 1 << 28  # copied


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own compiler
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # likewise
@pytest.mark.slow
def test_compiled_steps_equal_eager_ones(tmp_path):
    losses = []
    for changes in ([], ["speed.compile=step", "speed.fused=on"]):
        session, (batch, *_) = session_of(override(TINY, changes), tmp_path), synthetic_batches(TINY, ALONE)
        losses.append(torch.tensor([session.step(batch).item() for _ in range(4)]))
    assert torch.allclose(losses[0], losses[1], rtol=1e-6)


# --- presets, validation ---

@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_valid_on_two_processes(name):
    validate(PRESETS[name](), processes=2)


@pytest.mark.parametrize(("change", "says"), [
    ("global_batch_size=15", "divisible by processes x accumulation_steps = 2"), ("global_batch_size=0", "divisible"),
    ("global_batch_size=1000000", "at most data.train_samples"), ("model.bags=1,2", "one of model.bags for each of model.rows, found 2 for 26"),
    ("model.width=8", "as wide as model.width = 8"), ("model.top=64,0", "at least 1"), ("data.days=1", "data.days"),
    ("data.eval_batch_size=15", "data.eval_batch_size divisible by 2"), ("optimizer.epsilon=-1", "optimizer.epsilon"),
    ("data.hidden=0", "data.hidden")])
def test_validation_refuses(change, says):
    with pytest.raises(InvalidConfiguration, match=says):
        validate(override(mini(), [change]), processes=2)


def test_more_processes_than_tables_are_refused():
    with pytest.raises(InvalidConfiguration, match=r"at most one process per table \(26\), found 32"):
        validate(override(mini(), ["data.eval_batch_size=64"]), processes=32)


def test_mini_differs_from_full_in_sizes_only():
    reference, small = full(), mini()
    assert replace(small.optimizer, base_learning_rate=reference.optimizer.base_learning_rate) == reference.optimizer
    assert small.model.cross_layers == reference.model.cross_layers
    assert small.model.dense_features == reference.model.dense_features
    assert len(small.model.rows) == len(reference.model.rows)


# --- the rules: cadence and logs of the full preset ---

@pytest.mark.parametrize(("batch", "step"), [(65536, 3200), (55296, 3793), (102400, 2048), (135168, 1551)])
def test_evaluations_of_the_full_preset_are_every_twentieth_of_an_epoch(batch, step):
    from laptime.harness.preflight import make_plan

    config = override(full(), [f"global_batch_size={batch}"])
    plan = make_plan(load_round("v6.0").benchmarks["dlrm_dcnv2"], config, sizes(config, Manifest("", "", "", facts(config), {})))
    assert (plan.evaluations.points, plan.evaluations.step) == ((step * batch,), step * batch)
    assert plan.limit.unit == "samples"
    assert plan.limit.value == 4195197692 // batch * batch
    assert step * batch / plan.sizes.samples_per_epoch == pytest.approx(0.05, abs=5e-5)


@pytest.mark.parametrize("round_name", ROUNDS)
def test_official_checker_and_ours_accept_the_log_of_a_stand_in_session(tmp_path, round_name):
    path = tmp_path / "result_0.txt"
    assert played_log(path, "dlrm_dcnv2", round_name, fails=14, passes=0.80276).status == "converged"
    assert accepted(path, round_name)
    for level in ("official", "rules"):
        assert errors(path, level=level) == []
    positions = [float(line.split('"epoch_num": ')[1].split("}")[0].split(",")[0]) for line in path.read_text().splitlines()
                 if '"key": "eval_accuracy"' in line]
    assert [round(position, 3) for position in positions] == [round(0.05 * i, 3) for i in range(1, 16)]


def test_run_that_never_reaches_the_target_ends_with_the_pass(tmp_path):
    path = tmp_path / "result_0.txt"
    assert played_log(path, "dlrm_dcnv2", "v6.0", fails=100).status == "not converged"


@pytest.mark.parametrize(("change", "says"), [
    ("optimizer.epsilon=1e-7", "optimizer.epsilon"), ("optimizer.initial_accumulator=0.1", "optimizer.initial_accumulator"),
    ("model.cross_rank=256", "model.cross_rank"), ("data.shuffle_labels=true", "data.shuffle_labels")])
def test_closed_run_at_the_full_preset_with_another_value_does_not_start(tmp_path, change, says):
    with pytest.raises(IllegalRun, match=says):
        played_log(tmp_path / "result_0.txt", "dlrm_dcnv2", "v6.0", [change])


def test_calibration_counts_positions_as_fractions_of_the_pass():
    from laptime.harness.calibration import _position

    rules = load_round("mini").benchmarks["dlrm_dcnv2"]
    assert _position({"epoch": 1, "samples": 25600, "samples_per_epoch": 512000}, rules) == 0.05


# --- shortcuts ---

@pytest.fixture(scope="module")
def additive(tmp_path_factory):
    """Clicks that ids and counts decide each on their own."""
    config = override(smoke(), ["data.train_samples=6000", "data.main_effect=1.5", "data.joint_effect=0"])
    root = tmp_path_factory.mktemp("additive")
    generate(config, root, 3)
    store = Store.open(root)
    store.unlock()
    return config, store


def test_shortcuts_find_what_they_look_for(additive):
    found = {name: measure(*additive) for name, measure in shortcuts.SHORTCUTS.items()}
    assert found["majority class"] == 0.5
    assert 0.5 <= found["untrained network"] < 0.6
    assert found["dense features"] > 0.5
    assert 0.55 < found["best single feature"] < found["all features added up"]
    assert found["logistic regression on everything"] > 0.8
