"""Llama 3.1 8B on C4: its presets and functions, registered by being here."""

from laptime.benchmark import Benchmark
from laptime.suite.llama31_8b.articles import generate
from laptime.suite.llama31_8b.config import PRESETS, Llama8BConfig, layout, validate
from laptime.suite.llama31_8b.published import prepare, sizes
from laptime.suite.llama31_8b.train import build

BENCHMARK: Benchmark[Llama8BConfig] = Benchmark(
    presets=PRESETS, prepare=prepare, generate=generate, sizes=sizes, build=build, validate=validate, layout=layout)
