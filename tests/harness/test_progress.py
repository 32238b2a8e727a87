"""What a watcher is told: lines between processes, rates, estimates."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.events import At, Cadence, Plan, Point, Sizes
from laptime.harness.progress import MARK, PROGRESS_SECONDS, Meter, RunEvent, typical_samples
from laptime.rules.load import load_round
from laptime.rules.model import Interval, ReferencePoint

RULES = load_round("v4.0").benchmarks["resnet"]
numbers = st.floats(0, 1e12)


@given(st.builds(RunEvent, kind=st.sampled_from(["phase", "epoch", "evaluated", "progress", "end"]), text=st.text(st.characters(codec="utf-8")),
                 elapsed_s=numbers, samples=st.integers(0, 2**40), epoch=st.integers(0, 999), samples_per_second=numbers,
                 metrics=st.dictionaries(st.text(st.characters(codec="utf-8")), numbers), target=st.text(st.characters(codec="utf-8")),
                 remaining_s=st.none() | numbers))
def test_event_survives_the_way_through_a_line(event):
    line = event.to_line()
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert RunEvent.from_line(line) == event


@pytest.mark.parametrize("line", [
    b"", b"\n", b"hello\n", b"@laptime", b"@laptime \n", b"@laptime {\n", b"@laptime []\n", b"@laptime null\n", b"@laptime 5\n",
    b'@laptime "x"\n', b"@laptime {}\n", b'@laptime {"kind": "epoch", "colour": 1}\n', b" @laptime {}\n", b"\xff\xfe\x00\n",
    RunEvent("epoch", "x").to_line()[:-5], MARK + b"\xff\n", b'x @laptime {"kind": "epoch"}\n'])
def test_line_that_is_no_event_is_ordinary_output(line):
    assert RunEvent.from_line(line) is None


@given(st.binary())
def test_any_bytes_after_the_mark_are_an_event_or_ordinary_output(junk):
    found = RunEvent.from_line(MARK + junk)
    assert found is None or isinstance(found, RunEvent)


class Watch:
    """A stopwatch set by hand."""

    now = 0.0

    def seconds(self):
        return self.now


def meter_of(rules=RULES, *, batch=2048, limit=None, per_epoch=1000):
    """(meter, its watch, the events it emitted)."""
    told = []
    plan = Plan(batch, limit or Point(41, "epochs"), Cadence("epochs", (1,), 1), Sizes(per_epoch, 10, per_epoch))
    meter = Meter(rules, plan, told.append)
    meter._watch = watch = Watch()
    return meter, watch, told


def test_progress_is_told_at_most_twice_a_second():
    meter, watch, told = meter_of()
    for tenth in range(101):
        watch.now = tenth / 10
        meter.tell("progress", At(samples=tenth))
    times = [event.elapsed_s for event in told]
    assert len(times) >= 10 / (PROGRESS_SECONDS + 0.1)
    assert all(later - earlier >= PROGRESS_SECONDS - 1e-9 for earlier, later in itertools.pairwise(times))


@pytest.mark.parametrize("kind", ["epoch", "evaluated"])
def test_what_matters_is_told_at_once(kind):
    meter, _, told = meter_of()
    for _ in range(5):
        meter.tell(kind, At(samples=3, epoch=2), {"eval_accuracy": 0.5}, "words")
    assert [(e.kind, e.samples, e.epoch, e.metrics, e.text) for e in told] == [(kind, 3, 2, {"eval_accuracy": 0.5}, "words")] * 5


def test_rate_is_samples_per_second_since_the_clock_started():
    meter, watch, told = meter_of()
    meter.tell("epoch", At())
    watch.now = 4.0
    meter.tell("epoch", At(samples=1000))
    assert [event.samples_per_second for event in told] == [0.0, 250.0]
    assert told[0].remaining_s is None


def references(*points):
    return replace(RULES, references=tuple(ReferencePoint(f"p{size}", size, "epochs", values, {}) for size, values in points))


def test_estimate_goes_to_where_the_nearest_reference_converges():
    rules = references((256, (10, 12)), (4096, (20, 22)))
    for batch, epochs in [(512, 11), (4000, 21)]:
        meter, watch, told = meter_of(rules, batch=batch)
        watch.now = 10.0
        meter.tell("epoch", At(samples=1000))
        assert told[0].remaining_s == pytest.approx((epochs * 1000 - 1000) / 100)


@pytest.mark.parametrize(("samples", "goal"), [(10_999, 11_000), (11_000, 41_000), (20_000, 41_000), (50_000, 50_000)])
def test_estimate_beyond_the_reference_goes_to_the_limit(samples, goal):
    meter, watch, told = meter_of(references((256, (10, 12))))
    watch.now = 1.0
    meter.tell("epoch", At(samples=samples))
    assert told[0].remaining_s == pytest.approx((goal - samples) / samples)


def test_estimate_without_references_goes_to_the_limit_in_its_unit():
    for limit, goal in [(Point(8, "epochs"), 8000), (Point(5000, "samples"), 5000)]:
        meter, watch, told = meter_of(references(), limit=limit)
        watch.now = 1.0
        meter.tell("epoch", At(samples=1000))
        assert told[0].remaining_s == pytest.approx((goal - 1000) / 1000)


def test_estimate_is_left_out_where_epochs_have_no_known_size():
    meter, watch, told = meter_of(references((256, (10,))), per_epoch=None)
    watch.now = 1.0
    meter.tell("epoch", At(samples=1000))
    assert told[0].remaining_s is None


def test_references_in_other_units_are_no_estimate():
    rules = replace(RULES, references=(ReferencePoint("a", 256, "samples", (10.0,), {}),))
    assert typical_samples(rules, Plan(1, Point(1, "epochs"), Cadence("epochs", (1,)), Sizes(5, 5, 5))) is None


def test_target_in_words():
    assert RULES.target_text == "eval_accuracy >= 0.759"
    both = {"box": Interval(0.377), "mask": Interval(0.339, low_open=True)}
    assert replace(RULES, target=both).target_text == "box >= 0.377, mask > 0.339"
