"""Small submissions of round v4.0 on disk: ROUND/SUBMITTER/results/SYSTEM/resnet/result_*.txt, by our own writer."""

from pathlib import Path

from laptime.log.record import Record
from laptime.log.write import LogWriter

ROUND = "v4.0"
START = 1_700_000_000_000
VALUES = {
    "global_batch_size": 3264, "opt_name": "sgd", "sgd_opt_base_learning_rate": 0.1, "sgd_opt_end_learning_rate": 0.0001,
    "sgd_opt_learning_rate_decay_poly_power": 2, "sgd_opt_learning_rate_decay_steps": 14000,
    "sgd_opt_weight_decay": 0.0002, "sgd_opt_momentum": 0.9, "model_bn_span": 64, "opt_learning_rate_warmup_epochs": 5,
    "gradient_accumulation_steps": 1, "train_samples": 1281167, "eval_samples": 50000}


def write_run(path: Path, *, submitter: str, seed: object, start_ms: int = START, minutes: float = 60, epochs: int = 35,
              every: int = 4, platform: str = "box", file: str = "train.py", more=None, **values) -> Path:
    """One converged run; an evaluation takes a tenth of the time of a block and comes after it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ends = [*range(epochs % every or every, epochs + 1, every)]
    with LogWriter(path) as log:
        def put(key, value=None, *, at, kind="POINT_IN_TIME", **metadata):
            log.write(Record(key, value, start_ms + round(at * 60_000), kind, {"file": file, "lineno": 1, **metadata}))

        for key, value in {"submission_org": submitter, "submission_platform": platform, "submission_division": "closed",
                           "submission_status": "research", "submission_benchmark": "resnet", "cache_clear": True}.items():
            put(key, value, at=0)
        put("init_start", at=0, kind="INTERVAL_START")
        for key, value in {**VALUES, **values, "seed": seed, **(more or {})}.items():
            put(key, value, at=0.5)
        put("init_stop", at=1, kind="INTERVAL_END")
        put("run_start", at=1, kind="INTERVAL_START")
        part = minutes / len(ends)
        for place, end in enumerate(ends):
            begun, at = (ends[place - 1] if place else 0), 1 + place * part
            block = {"first_epoch_num": begun + 1, "epoch_count": end - begun}
            put("block_start", at=at, kind="INTERVAL_START", **block)
            put("block_stop", at=at + 0.9 * part, kind="INTERVAL_END", first_epoch_num=begun + 1)
            put("eval_start", at=at + 0.9 * part, kind="INTERVAL_START", epoch_num=end)
            put("eval_accuracy", 0.76 if end == epochs else 0.7 * end / epochs, at=at + part, epoch_num=end)
            put("eval_stop", at=at + part, kind="INTERVAL_END", epoch_num=end)
        put("run_stop", at=1 + minutes, kind="INTERVAL_END", status="success")
    return path


def write_result(top: Path, submitter: str, *, system: str = "box", runs: int = 5, first_seed: int = 1, offset_ms: int = 0,
                 minutes: float = 60, step: float = 1, **options) -> Path:
    """The runs of one result, each with its own seed, start and length; returns the submitter's folder."""
    folder = top / ROUND / submitter / "results" / system / "resnet"
    for run in range(runs):
        write_run(folder / f"result_{run}.txt", submitter=submitter, seed=first_seed + run,
                  start_ms=START + offset_ms + run * 7_200_000, minutes=minutes + step * run, **options)
    return top / ROUND / submitter
