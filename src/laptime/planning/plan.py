"""A plan: what a benchmark will need and how long it will take on so many accelerators, in several layouts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from laptime.config import Config, Parallel, SuitePath, override
from laptime.errors import InvalidConfiguration
from laptime.planning.accelerators import Accelerator, accelerator
from laptime.planning.best import Option, distinct, options, weighed
from laptime.planning.calibration import errors, fits
from laptime.planning.layouts import spread
from laptime.planning.timing import Fit, Setting
from laptime.planning.workload import Workload, latest_rules, samples_per_unit, samples_to_target, workload
from laptime.suite import BUILT_IN, load
from laptime.training.distributed.layout import Layout

SHARES = "parallel."  # overrides that ask for one layout


@dataclass(frozen=True)
class Question:
    """What was asked. `batch` 0: that of the full preset, rounded to a multiple of `count`; `overrides` as of a run."""

    benchmark: str
    accelerator: str
    count: int
    batch: int = 0
    overrides: tuple[str, ...] = ()
    round: str = ""
    most: int = 8
    suite: SuitePath = BUILT_IN


@dataclass(frozen=True)
class Answer:
    """`options`: the layout asked for, or the quickest first. `error`: median of predictions of published results that
    the fit had not seen, None where nobody published any. `samples`: to the target, by the reference points of `round`.
    """

    question: Question
    kind: Accelerator
    work: Workload
    batch: int
    round: str
    samples: float
    fit: Fit
    fitted: bool
    error: float | None
    options: tuple[Option, ...]

    def minutes(self, option: Option) -> float:
        """To the target."""
        return option.step.seconds * self.samples / self.batch / 60

    def utilisation(self, option: Option) -> float:
        """Model operations over peak, of the whole step."""
        peak = option.spread.count * self.kind.flop_per_s
        return self.work.flop_per_sample * self.batch / (option.step.seconds * peak)


def answered(question: Question) -> Answer:
    """Raises UserError for a benchmark without measured work, UnknownName for an unknown accelerator, and
    InvalidConfiguration where nothing can run on so many."""
    if question.count < 1:
        raise InvalidConfiguration(f"expected --count of at least 1, found {question.count}")
    work, kind = workload(question.benchmark, question.suite), accelerator(question.accelerator)
    config, layout = _configured(question)
    batch = question.batch or _rounded(config.global_batch_size, question.count)
    known, seen = fits(), errors()
    fit = known.get(question.benchmark, known[""])
    found = _options(question, config.parallel, Setting(work, layout, kind, fit), batch)
    if not found:
        raise InvalidConfiguration(f"expected a batch that {question.count} accelerators can share, found {batch}",
                                   hint="Give --batch a multiple of the count, or another --count.")
    round_name, rules = latest_rules(question.benchmark, question.round)
    unit = samples_per_unit(question.benchmark, rules.convergence_unit, question.suite)
    return Answer(question, kind, work, batch, round_name, samples_to_target(rules, batch, unit), fit,
                  question.benchmark in known, seen.get(question.benchmark), tuple(found))


def _configured(question: Question) -> tuple[Config, Layout]:
    benchmark = load(question.benchmark, "benchmark", question.suite).BENCHMARK
    config: Config = override(benchmark.presets["full"](), question.overrides)
    return config, benchmark.layout(config)


def _options(question: Question, parallel: Parallel, setting: Setting, batch: int) -> Sequence[Option]:
    if any(change.startswith(SHARES) for change in question.overrides):
        return [weighed(setting, spread(parallel, setting.layout, question.count, batch), batch)]
    return distinct(options(setting, question.count, batch), question.most)


def _rounded(batch: int, count: int) -> int:
    return max(count, round(batch / count) * count)


def assumptions(answer: Answer) -> Mapping[str, str]:
    """What the figures rest on, in words."""
    kind = answer.kind
    source = "half of the published results of this benchmark" if answer.fitted else "the median of other benchmarks"
    error = "nobody has published any to test it" if answer.error is None else \
        f"median error on the other half {answer.error:.0%}"
    return {
        "peak": f"{kind.bf16_tflops:g} TFLOP/s in bfloat16, dense; operations are the model's, none counted twice",
        "utilisation": f"{answer.fit.utilisation:.3g} while computing, and {answer.fit.floor_s * 1e3:.3g} ms a step "
                       f"and doubling that never shrink: fitted to {source}; {error}",
        "bandwidth": f"{kind.link:g} GB/s among {kind.domain}, {kind.network:g} GB/s beyond, each and one way; half of "
                     "the computing time hides the exchange of gradients, nothing hides tensor, context and pipeline "
                     "traffic",
        "memory": "weights, gradients and optimizer state as the benchmark keeps them, activations in bfloat16; 8 % of "
                  "the memory is left to the driver, the allocator and the collectives",
        "samples": f"mean of the reference points of round {answer.round}",
    }
