"""What this process may use of the machine: processor affinity and control-group limits (cgroup v1 and v2)."""

import os
from dataclasses import dataclass

from laptime.system.sources import Sources, whole

NO_LIMIT = 1 << 60  # cgroup v1 writes a huge number for "no limit"


@dataclass(frozen=True)
class Limits:
    """`threads`: hardware threads this process may use, 0: unknown. `quota`: CPU seconds per second, None: no limit."""

    threads: int = 0
    quota: float | None = None
    memory_bytes: int | None = None

    @property
    def processors(self) -> int:
        """Threads worth starting: affinity and quota together, at least 1."""
        usable = self.threads or 1
        return usable if self.quota is None else max(1, min(usable, round(self.quota)))


def limits(sources: Sources) -> Limits:
    """The limits of this process."""
    groups = _groups(sources)
    quotas = [quota for group in groups if (quota := _quota(sources, group)) is not None]
    memories = [memory for group in groups if (memory := _memory(sources, group)) is not None]
    return Limits(_affinity(), min(quotas, default=None), min(memories, default=None))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 0


def _groups(sources: Sources) -> list[str]:
    """Folders under sys/fs/cgroup that may limit this process: its own group and every group above it."""
    lines = [line.split(":", 2) for line in sources.text("proc/self/cgroup").splitlines()]
    own = [parts[2].strip("/") for parts in lines if len(parts) == 3]
    found = {""}
    for path in own:
        names = path.split("/")
        if ".." not in names:
            found |= {"/".join(names[:length]) for length in range(1, len(names) + 1)}
    return sorted(found)


def _quota(sources: Sources, group: str) -> float | None:
    words = sources.text(f"sys/fs/cgroup/{group}/cpu.max").split()
    if len(words) == 2 and (used := whole(words[0])) and (period := whole(words[1])):
        return used / period
    old = f"sys/fs/cgroup/cpu/{group}"
    used, period = sources.number(f"{old}/cpu.cfs_quota_us"), sources.number(f"{old}/cpu.cfs_period_us")
    return used / period if used and period and used > 0 else None


def _memory(sources: Sources, group: str) -> int | None:
    new = sources.number(f"sys/fs/cgroup/{group}/memory.max")
    limit = new if new is not None else sources.number(f"sys/fs/cgroup/memory/{group}/memory.limit_in_bytes")
    return limit if limit is not None and limit < NO_LIMIT else None
