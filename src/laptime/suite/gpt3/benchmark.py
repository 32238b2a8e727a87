"""GPT-3 on C4: its presets and functions, registered by being here."""

from laptime.benchmark import Benchmark
from laptime.suite.gpt3.articles import generate
from laptime.suite.gpt3.config import PRESETS, Gpt3Config, layout, validate
from laptime.suite.gpt3.data import prepare, sizes
from laptime.suite.gpt3.train import build

BENCHMARK: Benchmark[Gpt3Config] = Benchmark(
    presets=PRESETS, prepare=prepare, generate=generate, sizes=sizes, build=build, validate=validate,
    layout=layout)
