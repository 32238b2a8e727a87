"""Mini Go: its presets and functions, registered by being here."""

from laptime.benchmark import Benchmark
from laptime.suite.minigo.config import PRESETS, MinigoConfig, validate
from laptime.suite.minigo.data import prepare, sizes
from laptime.suite.minigo.start import generate
from laptime.suite.minigo.train import build

BENCHMARK: Benchmark[MinigoConfig] = Benchmark(
    presets=PRESETS, prepare=prepare, generate=generate, sizes=sizes, build=build, validate=validate,
    resumes=False)
