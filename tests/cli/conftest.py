"""Folders of logs for the commands that judge, and a way to run a command line in this process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from laptime.cli.main import main
from laptime.config import Json
from laptime.log.record import Record
from laptime.log.write import LogWriter

HYPERPARAMETERS: dict[str, Json] = {
    "global_batch_size": 3264, "opt_name": "sgd", "sgd_opt_base_learning_rate": 0.1, "sgd_opt_end_learning_rate": 0.0001,
    "sgd_opt_learning_rate_decay_poly_power": 2, "sgd_opt_learning_rate_decay_steps": 14000, "sgd_opt_weight_decay": 0.0002,
    "sgd_opt_momentum": 0.9, "model_bn_span": 64, "opt_learning_rate_warmup_epochs": 5, "gradient_accumulation_steps": 1,
    "train_samples": 1281167, "eval_samples": 50000}


@dataclass(frozen=True)
class Answer:
    """What a command line did."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run a command line: run("list", "--json")."""
    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        code = main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        return Answer(code, out, err)
    return call


def write_log(path: Path, *, minutes: float = 60, epochs: int = 35, accuracy: float = 0.76, seed: int = 1,
              changes: dict[str, Json] | None = None) -> None:
    """A v4.0 closed log that reaches `accuracy` at `epochs` after `minutes`; evaluations every fourth epoch before it."""
    first = epochs % 4 or 4
    with LogWriter(path) as log:
        def put(key: str, value: Json = None, *, at: float, kind: str = "POINT_IN_TIME", **metadata: Json) -> None:
            log.write(Record(key, value, 1_700_000_000_000 + round(at * 60_000), kind,  # type: ignore[arg-type]
                             {"file": "train.py", "lineno": 1, **metadata}))

        for key, value in {"submission_org": "laptime", "submission_platform": "box", "submission_division": "closed",
                           "submission_status": "research", "submission_benchmark": "resnet", "cache_clear": True}.items():
            put(key, value, at=0)
        put("init_start", at=0, kind="INTERVAL_START")
        for key, value in (HYPERPARAMETERS | (changes or {}) | {"seed": seed}).items():
            put(key, value, at=1)
        put("init_stop", at=1, kind="INTERVAL_END")
        put("run_start", at=1, kind="INTERVAL_START")
        for start, end in zip([1, *range(first + 1, epochs + 1, 4)], range(first, epochs + 1, 4), strict=True):
            at = 1 + minutes * end / epochs
            put("block_start", at=1 + minutes * (start - 1) / epochs, kind="INTERVAL_START", first_epoch_num=start, epoch_count=end - start + 1)
            put("block_stop", at=at, kind="INTERVAL_END", first_epoch_num=start)
            put("eval_start", at=at, kind="INTERVAL_START", epoch_num=end)
            put("eval_accuracy", accuracy if end == epochs else 0.7 * end / epochs, at=at, epoch_num=end)
            put("eval_stop", at=at, kind="INTERVAL_END", epoch_num=end)
        put("run_stop", at=1 + minutes, kind="INTERVAL_END", status="success" if accuracy >= 0.759 else "aborted")


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """A result folder of round v4.0: folder([10, 11, 12, 13, 14]) has five runs of these minutes."""
    def make(minutes: Sequence[float] = (60, 61, 62, 63, 64), *, epochs: Sequence[int] = (), **changes: Json) -> Path:
        path = tmp_path / "v4.0" / "laptime" / "results" / "box" / "resnet"
        path.mkdir(parents=True)
        for index, one in enumerate(minutes):
            write_log(path / f"result_{index}.txt", minutes=one, epochs=(epochs or [35] * 9)[index], seed=index, changes=changes)
        return path
    return make
