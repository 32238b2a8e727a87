"""How many samples one core prepares: the benchmark's own training batches, read by one worker with nobody training."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

from laptime.bench.estimate import Estimate, geometric_mean
from laptime.bench.row import Row, measured
from laptime.bench.subject import Subject, built
from laptime.config import Config, override
from laptime.training.data.store import Store
from laptime.training.distributed.world import World
from laptime.training.loop import Supervised

DATA_SEED = 1  # of generated data
ONE_WORKER = "parallel.data_workers=1"


def measure(subject: Subject, world: World, *, samples: int, epochs: int, tell: Callable[[str], None]) -> list[Row]:
    """Samples per second of CPU time, for each kind of data the benchmark names."""
    rows = []
    for name, make in subject.comparison.FEEDS.items():
        tell(f"data of {subject.name}: {name}")
        with TemporaryDirectory(prefix="laptime-bench-") as folder:
            rows.append(_feed(subject, name, override(make(samples), [ONE_WORKER]), world, Path(folder),
                              epochs=epochs))
    return rows


def _feed(subject: Subject, name: str, config: Config, world: World, folder: Path, *, epochs: int) -> Row:
    subject.benchmark.generate(config, folder, DATA_SEED)
    store = Store.open(folder)
    session = built(subject, config, world, store, folder)
    store.unlock()
    passes = [_epoch(session, epoch) for epoch in range(1, epochs + 1)]
    found = per_core(passes)
    wall = geometric_mean([samples / seconds for samples, _, seconds in passes])
    return measured("data", f"{subject.name} {name}, decode and augment", "samples/s/core", found,
                    details={"epochs": epochs, "samples": passes[0][0], "batch": config.global_batch_size,
                             "wall_samples_per_s": wall.value, "workers": 1})


def per_core(passes: list[tuple[int, float, float]]) -> Estimate:
    """Samples per CPU second from (samples, CPU seconds, wall seconds) of each pass; other programs do not matter."""
    return geometric_mean([samples / cpu for samples, cpu, _ in passes])


def _epoch(session: Supervised[object], epoch: int) -> tuple[int, float, float]:
    """Samples, CPU seconds of this process, wall seconds."""
    wall, cpu, samples = perf_counter(), process_time(), 0
    batches = session.batches(epoch)
    for batch in batches:
        samples += batch.global_size
    return samples, process_time() - cpu, perf_counter() - wall
