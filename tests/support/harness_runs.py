"""Runs of the stand-in benchmark inside this process, with the records kept in a list."""

from pathlib import Path

import torch

from laptime.config import RunRequest, SuitePath
from laptime.harness.one_run import Job, Run
from laptime.harness.preflight import resolve
from laptime.harness.preparation import data_folder, prepare
from laptime.training.data.store import Store
from laptime.training.distributed.world import World

SUITE = SuitePath(Path(__file__).parents[1] / "harness" / "suite")


class ListSink:
    """Keeps records."""

    def __init__(self):
        self.records = []

    def write(self, record):
        self.records.append(record)

    @property
    def keys(self):
        return [record.key for record in self.records]

    def values(self, key):
        return [record.value for record in self.records if record.key == key]

    def metadata(self, key):
        return [{k: v for k, v in r.metadata.items() if k not in ("file", "lineno")} for r in self.records if r.key == key]

    def time(self, key):
        return next(record.time_ms for record in self.records if record.key == key)


class Quiet:
    """A reporter that keeps what it is told."""

    def __init__(self):
        self.messages, self.events, self.outcomes = [], [], []

    def message(self, text):
        self.messages.append(text)

    def run_started(self, index, total, seed):
        self.messages.append(f"run {index} of {total}")

    def event(self, index, event):
        self.events.append(event)

    def run_ended(self, outcome):
        self.outcomes.append(outcome)


def request_of(folder, *overrides, **more):
    return RunRequest("standin", **{"round": "mini", "out": folder / "out", "data": folder / "data", "overrides": overrides,
                                    "suite": SUITE, "system": "box", **more})


def run_of(folder, *overrides, **more):
    """(run, sink), ready to execute."""
    request = request_of(folder, *overrides, **more)
    prepare(request, Quiet())
    flight, sink = resolve(request), ListSink()
    job = Job(request, 0, 12345, folder / "log.txt", folder / "record.json", folder)
    return Run(job, flight, World(0, 1, torch.device("cpu")), Store.open(data_folder(flight)), sink=sink,
               emit=lambda event: None), sink
