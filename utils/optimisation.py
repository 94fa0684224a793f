"""The optimiser and its learning rates, from the first step to the last."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.optim.lr_scheduler import LambdaLR

from utils.settings import setting


@dataclass(frozen=True)
class Optimisation:
    """The settings of every training: an optimiser, warm-up, and the poly schedule lr * (1 - step / steps) ** power."""

    optimizer: Literal["sgd", "adamw"] = setting(
        "sgd", help="sgd, or adamw, which learns in few steps whatever the data"
    )
    batch_size: int = setting(16, low=1, help="IRN: 16")
    lr: float = setting(0.1, low=0, help="of the backbone (IRN: 0.1)")
    lr_head_factor: float = setting(10.0, low=0, help="the head's rate is lr times this (IRN: 10)")
    lr_decay: float = setting(
        1.0, low=0.01, high=1, help="timm/ backbones: a block's rate is this times that of the next; transformers: 0.75"
    )
    momentum: float = setting(
        0.0, low=0, high=1, help="IRN's optimizer passes its weight decay (1e-4) as momentum: in effect none"
    )
    weight_decay: float = setting(0.0, low=0, help="and therefore no weight decay")
    poly_power: float = setting(0.9, low=0, help="lr * (1 - step / steps) ^ power (IRN: 0.9)")
    warmup: int = setting(0, low=0, help="the learning rate rises over so many steps first, a quarter of all at most")
    clip: float = setting(0.0, low=0, help="longer gradients are shortened to this length; 0: never")
    least_steps: int = setting(
        0, low=0, help="an epoch sees few images several times, until all epochs have so many steps"
    )


def passes_an_epoch(steps_a_pass: int, epochs: int, least_steps: int) -> int:
    """How often an epoch goes through the images, so that all epochs together have at least `least_steps` steps."""
    return max(1, -(-least_steps // (steps_a_pass * epochs)))


def build_optimizer(network: Any, settings: Optimisation) -> torch.optim.Optimizer:
    """An optimiser of what is trained, with the learning rate of the head for `network.fast_part()`.

    With `lr_decay` the rates of the backbone fall towards its input (layer-wise decay, Clark et al., ICLR 2020); a
    backbone that does not know its blocks is then a `UserError`.
    """
    fast = set(network.fast_part().parameters())
    behind: dict[str, int] = {}
    if settings.lr_decay < 1:
        behind = {f"backbone.{name}": count for name, count in network.backbone.blocks_behind().items()}
    rates: dict[float, list[torch.nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            factor = settings.lr_head_factor if parameter in fast else settings.lr_decay ** behind.get(name, 0)
            rates.setdefault(settings.lr * factor, []).append(parameter)
    groups = [{"params": parameters, "lr": rate} for rate, parameters in rates.items()]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    return torch.optim.SGD(groups, momentum=settings.momentum, weight_decay=settings.weight_decay)


def build_schedule(optimizer: torch.optim.Optimizer, settings: Optimisation, steps: int) -> LambdaLR:
    """The factor of the learning rates at each step: from 0 up over the warm-up, then down to 0 at the last step."""
    rise = min(settings.warmup, steps // 4)

    def factor(step: int) -> float:
        decayed = max(0.0, 1 - step / steps) ** settings.poly_power
        return decayed * (step + 1) / (rise + 1) if step < rise else decayed

    return LambdaLR(optimizer, factor)
