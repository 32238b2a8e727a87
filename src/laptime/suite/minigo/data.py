"""Data of Mini Go: no data set, but what is supplied (start, earlier games, opponent, professional games)."""

from pathlib import Path

from laptime.events import Sizes
from laptime.suite.minigo.config import MinigoConfig
from laptime.suite.minigo.published import described, reformat
from laptime.suite.minigo.start import recipe
from laptime.training.data.described import Count, check_described
from laptime.training.data.store import Manifest

NAME = "minigo-supplied"


def prepare(config: MinigoConfig, source: Path, root: Path) -> None:
    """Verify the published files under `source` (`published.py`) and reformat them into `root`.

    Untimed; nothing in it depends on a run. Raises DataProblem.
    """
    reformat(config, source, root, name=NAME, generator="published", facts={})


def sizes(config: MinigoConfig, manifest: Manifest) -> Sizes:
    """No samples before the run makes them; the run gives up after `data.generations`.

    Raises DataProblem when the supplied files are not those of the configuration.
    """
    check_described(manifest, (Count(name, value, manifest.count(name))
                               for name, value in described(config).items() if isinstance(value, int)), recipe(config))
    asked = config.match.games if config.data.evaluation == "match" else None
    return Sizes(None, asked, None, limit_epochs=config.data.generations)
