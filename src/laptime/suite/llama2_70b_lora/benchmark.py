"""Llama 2 70B with LoRA on GovReport: its presets and functions, registered by being here."""

from laptime.benchmark import Benchmark
from laptime.suite.llama2_70b_lora.config import PRESETS, LoraConfig, layout, validate
from laptime.suite.llama2_70b_lora.generated import generate
from laptime.suite.llama2_70b_lora.published import prepare, sizes
from laptime.suite.llama2_70b_lora.train import build

BENCHMARK: Benchmark[LoraConfig] = Benchmark(
    presets=PRESETS, prepare=prepare, generate=generate, sizes=sizes, build=build, validate=validate, layout=layout)
