"""Which way of learning goes with which kind of generator."""

from __future__ import annotations

from meddl.networks.generation import GeneratorNetwork
from meddl.synthesis.config import SynthesisConfig
from meddl.synthesis.flow_trainer import FlowTrainer
from meddl.synthesis.free_gan_trainer import FreeGanTrainer
from meddl.synthesis.gan_trainer import GanTrainer
from meddl.synthesis.trainer import Trainer


def make_trainer(config: SynthesisConfig, network: GeneratorNetwork) -> Trainer:
    """Return what teaches a generator of this kind."""
    if config.kind == "gan":
        return GanTrainer(config, network) if config.conditioned else FreeGanTrainer(config, network)
    return FlowTrainer(config, network)
