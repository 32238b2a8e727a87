"""Every figure by its name: what it shows, what a reader may choose, where its data come from and how it is drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from laptime.results.figures import rounds, runs, scales, summary
from laptime.results.figures.canvas import Form, drawn
from laptime.results.figures.sheet import Choice, Sheet, distinct

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW: Final = 0.42  # inches that one more benchmark takes
_PANEL: Final = (3.0, 2.3)  # inches of a small panel


@dataclass(frozen=True)
class Drawing:
    """`collect`: store and choice -> data; `draw`: data -> figure; `choices`: fields of Choice that matter; `size`:
    inches of the figure of given data."""

    text: str
    choices: tuple[str, ...]
    collect: Callable[[Path, Choice], Sheet]
    draw: Callable[["Figure", Sheet], None]
    size: Callable[[Sheet], tuple[float, float]]

    def file(self, sheet: Sheet, form: Form) -> bytes:
        """The figure of these data: the same bytes each time. Raises UserError without matplotlib."""
        return drawn(sheet, self.draw, form, self.size(sheet))


def _fixed(wide: float, high: float) -> Callable[[Sheet], tuple[float, float]]:
    return lambda _: (wide, high)


def _panels(sheet: Sheet) -> tuple[float, float]:
    count = len(distinct(sheet.texts("benchmark")))
    across = min(rounds.ACROSS, count)
    return max(7.5, _PANEL[0] * across), 1.9 + _PANEL[1] * -(-count // across)


def _bars(sheet: Sheet) -> tuple[float, float]:
    return max(7.5, 2.5 + 0.95 * len(sheet.table.rows)), 5.0


def _rows(sheet: Sheet) -> tuple[float, float]:
    return 12.0, 2.7 + _ROW * len(sheet.table.rows)


FIGURES: Final[Mapping[str, Drawing]] = {
    "epochs": Drawing("Epochs to the target over seeds, by batch size (the paper's figure 1).",
                      ("benchmark", "round", "division", "submitter", "system"), runs.epochs, runs.draw_epochs,
                      _fixed(11, 5.2)),
    "quality": Drawing("Quality against epochs for the runs of one result (the paper's figure 2).",
                       ("benchmark", "round", "division", "submitter", "system"), runs.quality, runs.draw_quality,
                       _fixed(11, 5)),
    "speedup": Drawing("Speed-up of the fastest entries with so many chips between two rounds (the paper's figure 3).",
                       ("earlier", "later", "chips", "division"), rounds.speedup, rounds.draw_speedup, _bars),
    "growth": Drawing("Chips of the fastest entries of two rounds (the paper's figure 4).",
                      ("earlier", "later", "division"), rounds.growth, rounds.draw_growth, _bars),
    "scaling": Drawing("Time against number of chips, with ideal scaling.",
                       ("benchmark", "round", "division", "accelerator", "submitter"), scales.scaling,
                       scales.draw_scaling, _fixed(10.5, 5.6)),
    "trend": Drawing("Best time of each benchmark per round, at 8 and 64 chips and at any number.",
                     ("benchmark", "division"), rounds.trend, rounds.draw_trend, _panels),
    "convergence": Drawing("Results against the reference points of a round and the band that passes.",
                           ("benchmark", "round", "submitter"), scales.convergence, scales.draw_convergence,
                           _fixed(10.5, 5.4)),
    "summary": Drawing("A round: fastest times, and how much faster they became.", ("round",), summary.sheet,
                       summary.draw, _rows),
}
