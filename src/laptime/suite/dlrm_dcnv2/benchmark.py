"""DLRM-DCNv2 on multi-hot Criteo: its presets and functions, registered by being here."""

from laptime.benchmark import Benchmark
from laptime.suite.dlrm_dcnv2.config import PRESETS, DLRMConfig, layout, validate
from laptime.suite.dlrm_dcnv2.data import generate, prepare, sizes
from laptime.suite.dlrm_dcnv2.train import build

BENCHMARK: Benchmark[DLRMConfig] = Benchmark(
    presets=PRESETS, prepare=prepare, generate=generate, sizes=sizes, build=build, validate=validate, layout=layout)
