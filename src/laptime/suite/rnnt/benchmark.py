"""RNN-T on LibriSpeech: its presets and functions, registered by being here."""

from laptime.benchmark import Benchmark
from laptime.suite.rnnt.config import PRESETS, RNNTConfig, validate
from laptime.suite.rnnt.data import generate, prepare, sizes
from laptime.suite.rnnt.train import build

BENCHMARK: Benchmark[RNNTConfig] = Benchmark(
    presets=PRESETS, prepare=prepare, generate=generate, sizes=sizes, build=build, validate=validate)
