"""Stable Diffusion v2: its presets and functions, registered by being here."""

from laptime.benchmark import Benchmark
from laptime.suite.stable_diffusion.config import PRESETS, StableDiffusionConfig, validate
from laptime.suite.stable_diffusion.data import generate, prepare, sizes
from laptime.suite.stable_diffusion.train import build

BENCHMARK: Benchmark[StableDiffusionConfig] = Benchmark(
    presets=PRESETS, prepare=prepare, generate=generate, sizes=sizes, build=build, validate=validate)
