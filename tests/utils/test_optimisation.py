"""The optimiser and its learning rates over the steps."""

import pytest
import torch

from models.backbone import build_backbone
from models.classifier import Classifier
from tests.utils.test_engine import Network
from utils.errors import UserError
from utils.optimisation import Optimisation, build_optimizer, build_schedule, passes_an_epoch


def rates(settings: Optimisation, steps: int) -> list[float]:
    """The body's learning rate at each step."""
    optimizer = build_optimizer(Network(), settings)
    schedule = build_schedule(optimizer, settings, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_rates_fall_as_published_warmup_rises_to_them_and_epochs_have_the_least_steps():
    assert rates(Optimisation(lr=0.1, poly_power=0.9), 4) == pytest.approx([0.1 * (1 - n / 4) ** 0.9 for n in range(4)])
    plain, warm = (rates(Optimisation(warmup=warmup), 20) for warmup in (0, 1000))
    assert warm[5:] == plain[5:]
    assert warm[:5] == sorted(warm[:5])
    assert 0 < warm[0] < plain[0] / 4
    for images in (1, 7, 15, 16, 352, 5000):
        steps = max(1, images // 16)
        passes = passes_an_epoch(steps, epochs=5, least_steps=300)
        assert steps * passes * 5 >= 300
        assert passes == 1 or steps * (passes - 1) * 5 < 300


def test_the_head_is_fast_and_rates_fall_towards_the_input_of_a_backbone_that_knows_its_blocks():
    for kind, expected in (("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)):
        optimizer = build_optimizer(Network(), Optimisation(optimizer=kind, lr=0.01, lr_head_factor=5))
        assert type(optimizer) is expected
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.05])
        assert sum(len(group["params"]) for group in optimizer.param_groups) == 6
    network = Classifier(build_backbone("timm/vit_tiny_patch16_224", "none"), 2)
    optimizer = build_optimizer(network, Optimisation(lr=1.0, lr_head_factor=10.0, lr_decay=0.5))
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    blocks = network.backbone.net.blocks
    assert [rates[id(block.attn.qkv.weight)] for block in blocks] == [0.5 ** (11 - n) for n in range(12)]
    assert rates[id(network.backbone.net.patch_embed.proj.weight)] == 0.5**11
    assert rates[id(network.classifier.weight)] == 10.0
    assert len(rates) == len(list(network.parameters()))
    network = Classifier(build_backbone("efficientnet_lite0", "none"), 2)
    with pytest.raises(UserError, match="lr_decay is for timm/ backbones"):
        build_optimizer(network, Optimisation(lr_decay=0.5))
