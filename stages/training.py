"""What stages `cam`, `ibb`, `affinity` and `segment` share: a network is trained on crops of a list's images."""

from torch import nn

from data.dataset import TrainingImages, TrainingSampler
from stages.lists import require_network_space
from stages.settings import Config
from utils.compute import choose_compute
from utils.engine import Losses, Plan, TrainingData, train_network
from utils.optimisation import Optimisation, passes_an_epoch
from utils.run import Run


def plan_of(cfg: Config, stage: str, section: str, epochs: int, optimisation: Optimisation) -> Plan:
    """How a stage trains; `section` is the one of its settings."""
    return Plan(stage, section, epochs, optimisation, choose_compute(cfg), cfg.workers, cfg.seed)


def train_on_crops(run: Run, plan: Plan, network: nn.Module, items: TrainingImages, losses: Losses) -> dict[str, float]:
    """Train `network` in place on crops of images; returns the mean of each loss over the last epoch."""
    plan.compute.network(network)
    require_network_space(run.folder, network)
    settings, count = plan.optimisation, len(items)
    steps = count // min(settings.batch_size, count)
    passes = passes_an_epoch(steps, plan.epochs, settings.least_steps)
    if passes > 1:
        run.log(f"{plan.stage:9} {count} images are few: each of the {plan.epochs} epochs sees them {passes} times")
    sampler = TrainingSampler(count, settings.batch_size, plan.seed, passes)
    return train_network(run, plan, network, TrainingData(items, sampler, items.transform.unpack), losses)
