"""BERT-large on Wikipedia: its presets and functions, registered by being here."""

from laptime.benchmark import Benchmark
from laptime.suite.bert.articles import generate
from laptime.suite.bert.config import PRESETS, BertConfig, layout, validate
from laptime.suite.bert.data import prepare, sizes
from laptime.suite.bert.train import build

BENCHMARK: Benchmark[BertConfig] = Benchmark(
    presets=PRESETS, prepare=prepare, generate=generate, sizes=sizes, build=build, validate=validate,
    layout=layout)
