"""Llama 3.1 405B on C4: its presets and functions, registered by being here."""

from laptime.benchmark import Benchmark
from laptime.suite.llama31_405b.articles import generate
from laptime.suite.llama31_405b.config import PRESETS, Llama405BConfig, layout, validate
from laptime.suite.llama31_405b.published import prepare, sizes
from laptime.suite.llama31_405b.train import build

BENCHMARK: Benchmark[Llama405BConfig] = Benchmark(
    presets=PRESETS, prepare=prepare, generate=generate, sizes=sizes, build=build, validate=validate, layout=layout)
