"""`laptime plan`: memory, communication and time of a benchmark on so many accelerators, before anybody buys them."""

from typing import TYPE_CHECKING

import click

from laptime.cli.options import json_option, suite_option
from laptime.cli.terminal import Column, heading, say, say_json, table, width
from laptime.config import SuitePath
from laptime.planning.best import Option
from laptime.planning.plan import Answer, Question, answered, assumptions

if TYPE_CHECKING:
    from laptime.training.distributed.imagined import Imagined

COLUMNS = (Column("layout"), Column("micro-batch", right=True), Column("GB each", right=True), Column("fits"),
           Column("ms/step", right=True), Column("of it waiting", right=True), Column("GB sent", right=True),
           Column("utilisation", right=True), Column("minutes to target", right=True))


@click.command("plan", epilog="Example: laptime plan bert --accelerator H200 --count 8")
@click.argument("name")
@click.option("--accelerator", required=True, help="Such as A100, H100, H200, B200, MI300X.")
@click.option("--count", required=True, type=click.IntRange(1, 1_000_000), help="Number of accelerators.")
@click.option("--batch", type=click.IntRange(0), default=0, help="Global batch size.  [default: the full preset's]")
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE",
              help="A setting; one of parallel.* asks for that layout alone.")
@click.option("--round", "round_name", default="", metavar="ROUND",
              help="Official round whose reference points hold.  [default: the latest]")
@click.option("--top", type=click.IntRange(1, 100), default=8, show_default=True, help="How many layouts to show.")
@click.option("--build", is_flag=True, help="Build the first layout with as many pretended processes and count the "
                                            "bytes of every tensor.")
@suite_option
@json_option
def command(*, name: str, accelerator: str, count: int, batch: int, overrides: tuple[str, ...], round_name: str,
            top: int, build: bool, suite: SuitePath, as_json: bool) -> None:
    """What benchmark NAME will need and how long it will take, in several layouts.

    Operations and tensors are the benchmark's own, speeds are fitted to published results; the answer says how well
    that predicts the ones it had not seen.
    """
    answer = answered(Question(name, accelerator, count, batch, overrides, round_name, top, suite))
    found = _built(answer) if build else None
    if as_json:
        say_json(as_data(answer) | ({"built": found} if found else {}))
        return
    say(heading(f"{name} on {count} x {answer.kind.name}, batch {answer.batch:,}"))
    say(table(COLUMNS, [row(answer, option) for option in answer.options], width()))
    if found is not None:
        say(f"\n{built_text(found)}")
    say()
    for what, words in assumptions(answer).items():
        say(f"{what}: {words}")


def _built(answer: Answer) -> "Imagined":
    from laptime.planning.imagined import imagined  # torch, only where asked for

    return imagined(answer.question, answer.options[0].spread, answer.batch)


def built_text(found: "Imagined") -> str:
    """The counted bytes in words."""
    most = found.largest
    return (f"built: {found.parameters:,} parameters on {len(found.stages)} pipeline stages; the fullest process holds "
            f"{most.parameters_bytes / 1e9:.2f} GB of weights, {most.gradients_bytes / 1e9:.2f} GB of gradients, "
            f"{most.optimizer_bytes / 1e9:.2f} GB of optimizer state")


def row(answer: Answer, option: Option) -> list[str]:
    """One layout in cells."""
    one, step = option.spread, option.step
    idle = step.waiting_s + step.exposed_s + step.floor_s
    return [one.text, f"{one.micro:g} x {one.micros}", f"{option.memory.total / 1e9:.1f}",
            "yes" if option.fits else "NO", f"{step.seconds * 1e3:.1f}", f"{idle / step.seconds:.0%}",
            f"{step.sent_bytes / 1e9:.2f}", f"{answer.utilisation(option):.0%}", f"{answer.minutes(option):.1f}"]


def as_data(answer: Answer) -> dict[str, object]:
    """The answer for programs; bytes, seconds and minutes."""
    layouts = [{"layout": option.spread.text, "parallel": option.spread.parallel, "data": option.spread.data,
                "micro_batch": option.spread.micro, "micro_batches": option.spread.micros, "memory": option.memory,
                "memory_bytes": option.memory.total, "fits": option.fits, "step": option.step,
                "step_seconds": option.step.seconds, "utilisation": answer.utilisation(option),
                "minutes_to_target": answer.minutes(option)} for option in answer.options]
    return {"benchmark": answer.question.benchmark, "accelerator": answer.kind, "count": answer.question.count,
            "batch": answer.batch, "round": answer.round, "samples_to_target": answer.samples,
            "flop_per_sample": answer.work.flop_per_sample, "parameters": answer.work.parameters,
            "fit": answer.fit, "median_error": answer.error, "layouts": layouts,
            "assumptions": assumptions(answer)}
