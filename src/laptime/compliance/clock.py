"""The initialisation allowance: how long a run may prepare before its clock starts (timing facts, section 3)."""

from collections.abc import Iterator

from laptime.compliance.finding import Finding
from laptime.compliance.run import Run
from laptime.scoring.olympic import MS_PER_MINUTE


def init_milliseconds(run: Run) -> float | None:
    """From the earliest init_start to init_stop; None where either is missing."""
    starts, stops = run.of("init_start"), run.of("init_stop")
    return stops[0].time_ms - min(record.time_ms for record in starts) if starts and stops else None


def check_initialisation(run: Run) -> Iterator[Finding]:
    """Strictly less than the allowance, as the official checker tests it; and no gap before the clock starts."""
    own = run.rules.init_minutes if run.level == "rules" else {}  # the official checker knows of no exception
    minutes, taken = {**run.round.init_minutes, **own}.get(run.division), init_milliseconds(run)
    if minutes is None or taken is None:
        return
    limit, stop = minutes * MS_PER_MINUTE, run.of("init_stop")[0]
    if taken >= limit:
        yield run.finding("init-limit", f"initialisation took {taken / MS_PER_MINUTE:.4f} min, expected less than "
                                        f"{minutes:g} ({run.division} division)", stop.line)
    start = run.start()
    if taken < limit and start and (gap := start.time_ms - (stop.time_ms - taken)) > limit:
        yield run.finding("clock-start", f"{start.key} comes {gap / MS_PER_MINUTE:.4f} min after the first "
                                         f"init_start, expected at most {minutes:g}", start.line, "warning")
