"""The score of a set of judged runs: which runs count, their olympic mean, the convergence check, and the spread.

Timing facts, section 6; facts on reference points, sections 6 and 7. A run that did not converge or is invalid has no
time: it is sorted as the slowest, and more of them than the round tolerates leave no score.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from laptime import config
from laptime.compliance import folder
from laptime.compliance.run import Run
from laptime.compliance.switches import read_switches
from laptime.config import Json
from laptime.layout import ResultFolder
from laptime.rules.model import BenchmarkRules
from laptime.scoring.olympic import mean, olympic, olympic_mean
from laptime.scoring.rcp import RcpDecision, check_convergence
from laptime.scoring.spread import Range, bootstrap_interval, sample_deviation, student_interval, variation
from laptime.scoring.window import first_converged, median_window

_EXTREMES = 1  # process of public tables: samples to converge leave out 1 + 1 runs in every benchmark
_BYPASS = "rcp-bypass"
_VISION, _OTHERS = 0.025, 0.05  # what MLCommons says of its published times (process facts, section 5)


class Verdict(Protocol):
    """What a score needs of a judged run."""

    @property
    def status(self) -> str: ...
    @property
    def minutes(self) -> float | None: ...
    @property
    def convergence(self) -> float | None: ...


@dataclass(frozen=True)
class Score:
    """The time of a set of runs. `minutes`: olympic mean; `kept`, `dropped`, `unused`: places in the result's runs.

    `unused`: runs outside the window, or beyond the first converged ones, that the round scores; `convergence_mean`:
    with the drops of the round; `samples_to_converge`: as public tables print it, without one run at each end;
    `interval95`: Student's t on the kept runs; `bootstrap95`: percentile bootstrap of the olympic mean of all runs;
    `published_factor`: from scaling.json, where there is one; `factor`: what the time is multiplied by: that one, else
    the computed one in rounds that normalise (v2.1 on), else 1;
    `uncertainty`: relative, what MLCommons says of published times of this area.
    """

    minutes: float
    kept: tuple[int, ...]
    dropped: tuple[int, ...]
    convergence_mean: float | None
    rcp: RcpDecision
    published_factor: float | None
    normalised_minutes: float
    sd: float | None
    variation: float | None
    interval95: Range | None
    bootstrap95: Range | None
    unit: str
    unused: tuple[int, ...] = ()
    samples_to_converge: float | None = None
    uncertainty: float | None = None
    factor: float = 1.0

    def to_json(self) -> Mapping[str, Json]:
        return as_json(self, rcp=as_json(self.rcp, max_speedup=self.rcp.max_speedup))


@dataclass(frozen=True)
class Bypass:
    """`words`: what to add to a failed check, "" where nobody asks; `heeded`: the official checker lets it pass."""

    words: str
    heeded: bool


def score(runs: Sequence[Run], verdicts: Sequence[Verdict], published: float | None) -> Score | None:
    """The score of runs of one benchmark; None where too many failed or too few were made for a mean.

    `runs` and `verdicts` speak of the same logs in the same order, though logs that could not be judged have no run.
    """
    rules = runs[0].rules
    times = [_time(verdict) for verdict in verdicts]
    chosen = in_score(rules, times, _launched(runs, verdicts), window=runs[0].round.window_scores)
    if not scorable([times[place] for place in chosen], rules):
        return None
    middle = olympic([times[place] for place in chosen], rules.drop)
    if math.isinf(middle.mean):
        return None
    needed = units([verdicts[place] for place in chosen])
    decision = convergence_check([runs[place] for place in chosen] if len(runs) == len(verdicts) else runs, needed)
    kept = [times[chosen[place]] for place in middle.kept]
    finite = all(math.isfinite(times[place]) for place in chosen)
    factor = published if published is not None else decision.factor if runs[0].round.normalised else 1.0
    return Score(
        minutes=middle.mean, kept=tuple(chosen[place] for place in middle.kept),
        dropped=tuple(chosen[place] for place in middle.dropped),
        unused=tuple(place for place in range(len(times)) if place not in chosen),
        convergence_mean=_mean_without(needed, rules.drop), samples_to_converge=_mean_without(needed, _EXTREMES),
        rcp=decision, published_factor=published,
        normalised_minutes=middle.mean * factor, factor=factor,
        sd=sample_deviation(kept), variation=variation(kept), interval95=student_interval(kept),
        bootstrap95=bootstrap_interval([times[place] for place in chosen], rules.drop) if finite else None,
        unit=rules.convergence_unit, uncertainty=_uncertainty(runs[0]))


def in_score(rules: BenchmarkRules, times: Sequence[float], launched: Sequence[float], *,
             window: bool) -> tuple[int, ...]:
    """Places of the runs that the score is made of: all, the first that converge, or the window of median score."""
    if rules.first_converged is not None:
        return first_converged(times, rules.first_converged)
    if window and len(times) > rules.runs:
        return median_window(times, launched, size=rules.runs, drop=rules.drop, max_failures=rules.max_failures)
    return tuple(range(len(times)))


def scorable(times: Sequence[float], rules: BenchmarkRules) -> bool:
    """Whether enough of the runs that count converged."""
    if rules.first_converged is not None and len(times) < rules.first_converged:
        return False
    return len(times) > 2 * rules.drop and sum(map(math.isinf, times)) <= rules.max_failures


def too_many_failed(rules: BenchmarkRules, statuses: Sequence[str], *, window: bool) -> str:
    """Why runs that failed leave no score, in words; "" where they do not. Of a set that is scored by windows or by the
    first that converge, more may fail."""
    failed = sum(1 for status in statuses if status != "converged")
    if rules.first_converged is not None:
        good = len(statuses) - failed
        return "" if good >= rules.first_converged else (
            f"{good} of {len(statuses)} runs converged, expected at least {rules.first_converged}")
    if failed <= rules.max_failures or (window and len(statuses) > rules.runs):
        return ""
    return f"{failed} of {len(statuses)} runs did not converge or are invalid, expected at most {rules.max_failures}"


def units(verdicts: Sequence[Verdict]) -> list[float]:
    """What every run needed, in the unit of the round; inf for one that did not converge."""
    return [math.inf if verdict.convergence is None else verdict.convergence for verdict in verdicts]


def convergence_check(runs: Sequence[Run], needed: Sequence[float]) -> RcpDecision:
    """The verdict of the reference points of the round on what the runs `needed` (inf: did not converge)."""
    round_, rules = runs[0].round, runs[0].rules
    if not round_.rcp_check or not rules.convergence_check:
        whose = "benchmark" if round_.rcp_check else "round"
        return RcpDecision(True, f"this {whose} has no convergence check")
    if runs[0].division != "closed":
        return RcpDecision(True, "the convergence check is for the closed division")
    if not rules.references and round_.kind == "house":
        return RcpDecision(True, "no reference points in this round yet")
    sizes = {folder.batch_size(run) for run in runs if run.log.records}
    if len(sizes) > 1:  # the official tool ends with an error (RCP facts, section 6)
        return RcpDecision(False, "The runs have different batch sizes")
    return check_convergence(
        rules.references, batch_size=next(iter(sizes), None), values=needed, runs=rules.runs,
        drop=rules.drop, max_failures=rules.max_failures, slack=rules.convergence_slack.get(runs[0].authority, 0.0))


def bypass(found: ResultFolder, run: Run) -> Bypass:
    """Whether a parameter file of the result or its system asks to let a failed check pass (RCP facts, section 8)."""
    folders = (found.path, found.path.parent) if found.system else (found.path,)
    asked = [read_switches(each, run.round, whole_lines=True) for each in folders]
    if not any(_BYPASS in one.known for one in asked):
        return Bypass("", False)
    heeded = run.level == "official" and any(_BYPASS in one.effective for one in asked)
    return Bypass(f"; the submitter asks to bypass it ({_BYPASS}) and owes the review a cause with evidence", heeded)


def as_json(value: object, **more: Json) -> Mapping[str, Json]:
    """A dataclass as JSON data, with `more` in place of or beside its fields; numbers that JSON has not become null."""
    fields = config.to_json(value)
    assert isinstance(fields, Mapping)
    return {name: _finite(item) for name, item in {**fields, **more}.items()}


def _time(verdict: Verdict) -> float:
    return verdict.minutes if verdict.status == "converged" and verdict.minutes is not None else math.inf


def _launched(runs: Sequence[Run], verdicts: Sequence[Verdict]) -> list[float]:
    """When the clocks of the runs started; the order of the files where a log does not tell or is not judged."""
    starts = [run.start() for run in runs]
    if len(runs) != len(verdicts) or None in starts:
        return [float(place) for place in range(len(verdicts))]
    return [start.time_ms for start in starts if start is not None]


def _mean_without(values: Sequence[float], drop: int) -> float | None:
    """Mean without `drop` values at each end; of all where there are too few; None where a kept run has no value."""
    found = olympic_mean(values, drop) if len(values) > 2 * drop else mean(values)
    return found if math.isfinite(found) else None


def _uncertainty(run: Run) -> float | None:
    """Only published rounds have been studied."""
    if run.round.kind != "official":
        return None
    return _VISION if run.rules.area == "Vision" else _OTHERS


def _finite(value: Json) -> Json:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
