"""The supervised loop on a straight line: order of events, evaluation points, limits, accumulation."""

import itertools

import pytest
import torch

from laptime.config import Speed
from laptime.errors import DataProblem, InvalidConfiguration
from laptime.events import Cadence, Epoch, Evaluated, Evaluating, Note, Plan, Point, Progress
from laptime.training.distributed.world import World
from laptime.training.loop import Batch, Supervised
from laptime.training.optim.sgd import SGD

ALONE = World(0, 1, torch.device("cpu"))
SPEED = Speed("float64", "contiguous", "off", "off", "off")
BATCH, STEPS = 4, 5  # samples per step, steps per epoch


class Rates:
    """A schedule that remembers the steps it was asked for."""

    def __init__(self, optimizer):
        self.optimizer, self.steps = optimizer, []

    def apply(self, step):
        self.steps.append(step)
        self.optimizer.rate.fill_(0.1 / (1 + step))


class Measure:
    """An evaluation that counts."""

    def __init__(self):
        self.done = self.warmed = 0

    def __call__(self):
        self.done += 1
        return {"eval_accuracy": self.done / 10}

    def warm_up(self):
        self.warmed += 1


class Batches:
    """Batches of a line y = 3x + 1, cut into micro-batches; remembers which iterators are open."""

    def __init__(self, micro=1, last=BATCH):
        self.micro, self.last, self.open = micro, last, 0

    def __call__(self, epoch):
        self.open += 1
        generator = torch.Generator().manual_seed(epoch)
        try:
            for step in range(STEPS):
                x = torch.rand(BATCH, 1, generator=generator, dtype=torch.float64)
                size = self.last if step == STEPS - 1 else BATCH
                yield Batch(tuple(zip(x.chunk(self.micro), (3 * x + 1).chunk(self.micro), strict=True)), size)
        finally:
            self.open -= 1


def loss(model, micro):
    x, y = micro
    return ((model(x) - y) ** 2).sum() / BATCH


def session(cadence, limit, *, batches=None, **more):
    model = torch.nn.Linear(1, 1, dtype=torch.float64)
    torch.nn.init.zeros_(model.weight), torch.nn.init.zeros_(model.bias)
    optimizer = SGD(model.parameters(), momentum=0.5)
    return Supervised(world=ALONE, plan=Plan(BATCH, limit, cadence), speed=SPEED, model=model, loss=loss, optimizer=optimizer,
                      schedule=Rates(optimizer), batches=batches or Batches(), evaluation=Measure(),
                      synthetic=lambda: itertools.islice(Batches()(99), 2), hyperparameters={}, initialised=[], **more)


def evaluations(events):
    return [(event.at.epoch, event.at.samples) for event in events if isinstance(event, Evaluated)]


def test_events_of_epochs_come_in_order():
    events = list(session(Cadence("epochs", (2,), 1), Point(3, "epochs"), progress_every=4).train())
    kinds = [type(event) for event in events]
    after = [Evaluating, Note, Evaluated]
    assert kinds == [Epoch, Progress, Epoch, Progress, *after, Epoch, Progress, *after]
    assert [event.at.samples for event in events if isinstance(event, Epoch)] == [0, 20, 40]
    assert evaluations(events) == [(2, 40), (3, 60)]


def test_events_of_samples_come_inside_epochs():
    events = list(session(Cadence("samples", (8,), 8), Point(24, "samples"), progress_every=100).train())
    after = [Evaluating, Note, Evaluated]
    assert [type(event) for event in events] == [Epoch, *after, *after, Epoch, *after]
    assert evaluations(events) == [(1, 8), (1, 16), (2, 24)]


@pytest.mark.parametrize(("points", "step", "expected"), [
    ((1,), 0, [4]), ((4,), 0, [4]), ((5,), 0, [8]), ((5, 6, 7), 0, [8]), ((9,), 6, [12, 16, 24, 28, 36, 40]),
    ((3,), 1, [4, 8, 12, 16, 20, 24, 28, 32, 36, 40]), ((41,), 0, [])])
def test_evaluation_is_at_the_first_batch_boundary_at_or_after_a_point(points, step, expected):
    events = session(Cadence("samples", points, step), Point(40, "samples")).train()
    assert [samples for _, samples in evaluations(events)] == expected


def test_evaluation_at_the_limit_comes_before_the_end():
    assert evaluations(session(Cadence("samples", (12,)), Point(12, "samples")).train()) == [(1, 12)]


@pytest.mark.parametrize(("limit", "steps"), [(Point(2, "epochs"), 10), (Point(1.5, "epochs"), 10), (Point(13, "samples"), 4),
                                              (Point(20, "samples"), 5), (Point(21, "samples"), 6)])
def test_training_ends_at_the_limit(limit, steps):
    one = session(Cadence("epochs", (50,)), limit)
    list(one.train())
    assert one.schedule.steps == list(range(steps))
    assert one.state().counters["steps"].value == steps


def test_samples_are_counted_as_batches_say():
    events = list(session(Cadence("epochs", (1,), 1), Point(2, "epochs"), batches=Batches(last=2)).train())
    assert evaluations(events) == [(1, 18), (2, 36)]


def test_progress_comes_every_few_steps_unless_there_is_an_evaluation():
    events = session(Cadence("samples", (16,), 100), Point(40, "samples"), progress_every=2).train()
    assert [event.at.step for event in events if isinstance(event, Progress)] == [2, 6, 8, 10]


def test_note_carries_the_loss_of_the_last_step():
    one, other = (session(Cadence("epochs", (1,)), Point(1, "epochs")) for _ in range(2))
    (note,) = [event for event in one.train() if isinstance(event, Note)]
    last = [float(other.step(batch)) for batch in Batches()(1)][-1]
    assert note.values == {"train_loss": last}


def test_metrics_are_those_of_the_evaluation_at_that_moment():
    events = session(Cadence("epochs", (1,), 1), Point(3, "epochs")).train()
    assert [event.metrics["eval_accuracy"] for event in events if isinstance(event, Evaluated)] == [0.1, 0.2, 0.3]


def test_evaluation_runs_between_its_two_events():
    one = session(Cadence("epochs", (1,)), Point(1, "epochs"))
    for event in one.train():
        assert one.evaluation.done == (isinstance(event, Note | Evaluated))


@pytest.mark.parametrize("micro", [2, 4])
def test_accumulation_over_micro_batches_equals_one_batch(micro):
    weights = []
    for parts in (1, micro):
        one = session(Cadence("epochs", (9,)), Point(3, "epochs"), batches=Batches(parts))
        list(one.train())
        weights.append([one.model.weight.item(), one.model.bias.item()])
    assert weights[1] == pytest.approx(weights[0], rel=1e-12)
    assert weights[0] != [0, 0]


def test_step_is_gradient_descent_with_the_rate_of_the_schedule():
    one = session(Cadence("epochs", (9,)), Point(1, "epochs"))
    x, y = torch.tensor([[1.0], [2.0], [0.0], [0.0]], dtype=torch.float64), torch.tensor([[2.0], [2.0], [0.0], [0.0]], dtype=torch.float64)
    assert float(one.step(Batch(((x, y),), 4))) == 2.0  # (2^2 + 2^2) / 4
    assert one.model.weight.item() == pytest.approx(0.1 * 2 * (1 * 2 + 2 * 2) / 4)
    assert one.model.bias.item() == pytest.approx(0.1 * 2 * (2 + 2) / 4)
    assert one.model.weight.grad is None


def test_after_backward_sees_gradients_of_the_whole_batch_once_per_step():
    seen = []
    one = session(Cadence("epochs", (9,)), Point(1, "epochs"), batches=Batches(4))
    one.after_backward = lambda: seen.append(one.model.weight.grad.item())
    list(one.train())
    other = session(Cadence("epochs", (9,)), Point(1, "epochs"))
    whole = []
    other.after_backward = lambda: whole.append(other.model.weight.grad.item())
    list(other.train())
    assert seen == pytest.approx(whole, rel=1e-12)
    assert len(seen) == STEPS


@pytest.mark.parametrize("stop_at", [Progress, Evaluating, Note, Evaluated])
def test_closing_the_generator_at_any_event_closes_the_batches(stop_at):
    batches = Batches()
    events = session(Cadence("samples", (8,), 8), Point(100, "samples"), batches=batches, progress_every=1).train()
    assert isinstance(next(event for event in events if isinstance(event, stop_at)), stop_at)
    assert batches.open == 1
    events.close()
    assert batches.open == 0


def test_batches_are_closed_at_the_limit_too():
    batches = Batches()
    events = session(Cadence("epochs", (9,)), Point(8, "samples"), batches=batches).train()
    assert len(list(events)) == 1
    assert batches.open == 0


def test_no_batch_is_asked_for_before_the_first_event():
    batches = Batches()
    events = session(Cadence("epochs", (1,)), Point(1, "epochs"), batches=batches).train()
    assert isinstance(next(events), Epoch)
    assert batches.open == 0
    events.close()


def test_warm_up_changes_what_the_state_names_and_nothing_else():
    one = session(Cadence("epochs", (1,)), Point(1, "epochs"))
    state = one.state()
    saved, before = state.copy(), state.fingerprint()
    one.warm_up()
    assert set(state.difference(saved)) >= {"model.weight", "model.bias", "steps", "optimizer.group0.lr"}
    assert one.evaluation.warmed == 1
    state.restore(saved)
    assert one.state().fingerprint() == before
    fresh = session(Cadence("epochs", (1,)), Point(1, "epochs"))
    assert [type(a) for a in one.train()] == [type(b) for b in fresh.train()]
    assert one.state().fingerprint() == fresh.state().fingerprint()


def test_evaluate_of_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(InvalidConfiguration, match="evaluates while it trains"):
        session(Cadence("epochs", (1,)), Point(1, "epochs")).evaluate(tmp_path)


def test_epoch_without_batches_is_an_error_of_the_data():
    events = session(Cadence("epochs", (1,), 1), Point(2, "epochs"), batches=lambda epoch: iter(())).train()
    assert isinstance(next(events), Epoch)
    with pytest.raises(DataProblem, match="epoch 1"):
        next(events)
