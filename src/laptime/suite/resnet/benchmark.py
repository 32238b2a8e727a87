"""ResNet-50 v1.5 on ILSVRC-2012: its presets and functions, registered by being here."""

from laptime.benchmark import Benchmark
from laptime.suite.resnet.config import PRESETS, ResNetConfig, validate
from laptime.suite.resnet.data import generate, prepare, sizes
from laptime.suite.resnet.train import build

BENCHMARK: Benchmark[ResNetConfig] = Benchmark(
    presets=PRESETS, prepare=prepare, generate=generate, sizes=sizes, build=build, validate=validate)
