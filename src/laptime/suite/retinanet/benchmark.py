"""RetinaNet on Open Images: its presets and functions, registered by being here."""

from laptime.benchmark import Benchmark
from laptime.suite.retinanet.config import PRESETS, RetinaNetConfig, validate
from laptime.suite.retinanet.data import generate, prepare, sizes
from laptime.suite.retinanet.train import build

BENCHMARK: Benchmark[RetinaNetConfig] = Benchmark(
    presets=PRESETS, prepare=prepare, generate=generate, sizes=sizes, build=build, validate=validate)
