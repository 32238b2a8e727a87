"""The network: size, names, initialisation, and a whole step against an independent implementation."""

import csv
from importlib import resources

import pytest
import torch
from torch.nn import functional as F

from laptime.suite.resnet.config import ModelConfig, full
from laptime.suite.resnet.model import ResNet, initialise, reference_names
from laptime.suite.resnet.train import Loss, Shape, build_optimizer
from laptime.training.distributed.world import World
from laptime.training.nn.batch_norm import RunningStatistics
from laptime.training.seeds import Seeds
