"""The classifier: logits and maps are two readings of the same linear head; what the head reads, and its poolings."""

from functools import partial

import pytest
import torch

from models.classifier import Classifier, HeadSettings, StageLogits, build_classifier, pool
from tests.models.tiny import TinyBackbone, cams, make_image, tiny_classifier
from utils.errors import UserError

POOLINGS = ("mean", "logsumexp", "top")


@pytest.fixture
def x() -> torch.Tensor:
    return torch.stack([make_image(40, 56, seed) for seed in range(2)])


def joined(pooling: str = "logsumexp") -> Classifier:
    """Reads stages 2 and 4 of the tiny backbone, of strides 8 and 16."""
    torch.manual_seed(0)
    return Classifier(TinyBackbone(), 3, True, HeadSettings((2, -1), pooling)).eval()


def test_maps_are_the_rectified_head_on_the_last_stage_and_logits_its_mean(x):
    classifier = tiny_classifier()
    weight = classifier.classifier.weight[:, :, 0, 0]
    unrectified = torch.einsum("cd,bdhw->bchw", weight, classifier.backbone(x))
    torch.testing.assert_close(cams(classifier, x), unrectified.clamp_min(0))
    torch.testing.assert_close(classifier(x), unrectified.mean(dim=(2, 3)))
    assert (unrectified < 0).any()
    assert (unrectified > 0).any()
    assert classifier.classifier.bias is None


def test_a_built_classifier_is_ready_to_use_and_a_stage_that_the_backbone_has_not_is_refused(tiny_backbone, x):
    classifier = build_classifier(tiny_backbone, 7, "none")
    assert not classifier.training
    assert classifier(x).shape == (2, classifier.num_classes) == (2, 7)
    assert all(parameter.requires_grad for parameter in classifier.parameters())
    for stages in ((7,), ()):
        with pytest.raises(UserError, match=r"cam\.head_stages"):
            Classifier(TinyBackbone(), 3, head=HeadSettings(stages))


@pytest.mark.parametrize("build", [partial(Classifier, TinyBackbone(), 3, bias=True), joined])
def test_a_bias_moves_the_logits_and_no_map(x, build):
    classifier, bias = build().eval(), torch.tensor([1.0, -2.0, 3.0])
    with torch.no_grad():
        classifier.classifier.bias.zero_()
        logits, maps = classifier(x), cams(classifier, x)
        classifier.classifier.bias.copy_(bias)
    torch.testing.assert_close(classifier(x), logits + bias)
    torch.testing.assert_close(cams(classifier, x), maps)


def test_a_logit_does_not_depend_on_the_number_of_cells_and_one_of_a_thousand_decides_but_not_by_the_mean():
    several = torch.randn(2, 3, 200, generator=torch.Generator().manual_seed(0))
    for head in (HeadSettings(pooling=pooling, top_share=0.05) for pooling in POOLINGS):
        torch.testing.assert_close(pool(several, head), pool(several.repeat(1, 1, 3), head))
        torch.testing.assert_close(pool(torch.full((1, 2, 50), 1.5), head), torch.full((1, 2), 1.5))
    evidence = torch.full((1, 1, 1000), -3.0)
    evidence[..., 7] = 12.0
    decided = [bool(pool(evidence, HeadSettings(pooling=name, top_share=0.001)) > 0) for name in POOLINGS]
    assert decided == [False, True, True]


def test_evidence_lies_on_the_finest_grid_and_is_the_sum_over_stages_of_which_each_gives_logits_alone():
    classifier, x = joined(), make_image(64, 96)[None]
    stages = classifier.backbone.stages(x)
    evidence, each = classifier.evidence(stages), classifier.stage_evidence(stages)
    assert evidence.shape == (1, 3, 8, 12)
    torch.testing.assert_close(torch.stack(each).sum(dim=0), evidence)
    together, *alone = StageLogits(classifier)(x)
    torch.testing.assert_close(together, classifier(x))
    for logits, own in zip(alone, each, strict=True):
        torch.testing.assert_close(logits, pool(own.flatten(2), classifier.head))
    new = {id(p) for p in classifier.parameters()} - {id(p) for p in classifier.backbone.parameters()}
    assert {id(p) for p in classifier.fast_part().parameters()} == new
    with torch.no_grad():
        classifier.classifier.weight.zero_()
    fine = classifier.sides[0](classifier.norms[0](stages[2]))
    torch.testing.assert_close(classifier.evidence(stages), fine)
    assert not torch.allclose(evidence, fine)
