"""What the classifier's head reads, and its poolings."""

import pytest
import torch
from torch import nn

from models.classifier import Classifier, HeadSettings, StageLogits, pool
from tests.models.tiny import TinyBackbone, make_image, tiny_classifier
from utils.errors import UserError

POOLINGS = ("mean", "logsumexp", "top")


def joined(pooling: str = "logsumexp") -> Classifier:
    """Reads stages 2 and 4 of the tiny backbone, of strides 8 and 16."""
    torch.manual_seed(0)
    return Classifier(TinyBackbone(), 3, True, HeadSettings((2, -1), pooling)).eval()


def test_by_default_the_logit_is_the_head_on_the_mean_of_the_last_stage():
    classifier, x = tiny_classifier(), make_image()[None]
    last = classifier.backbone(x)
    expected = nn.functional.linear(last.mean(dim=(2, 3)), classifier.classifier.weight[:, :, 0, 0])
    torch.testing.assert_close(classifier(x), expected)
    torch.testing.assert_close(classifier.cams(x), nn.functional.conv2d(last, classifier.classifier.weight).relu())


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_logit_does_not_depend_on_how_often_the_same_cells_come(pooling):
    evidence = torch.randn(2, 3, 200, generator=torch.Generator().manual_seed(0))
    head = HeadSettings(pooling=pooling, top_share=0.05)
    torch.testing.assert_close(pool(evidence, head), pool(evidence.repeat(1, 1, 3), head))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_cells_that_all_say_the_same_are_the_logit(pooling):
    torch.testing.assert_close(
        pool(torch.full((1, 2, 50), 1.5), HeadSettings(pooling=pooling)), torch.full((1, 2), 1.5)
    )


def test_one_strong_cell_of_a_thousand_decides_but_not_by_the_mean():
    evidence = torch.full((1, 1, 1000), -3.0)
    evidence[..., 7] = 12.0
    assert [bool(pool(evidence, HeadSettings(pooling=name, top_share=0.001)) > 0) for name in POOLINGS] == [
        False,
        True,
        True,
    ]


def test_evidence_lies_on_the_finest_grid_and_is_the_sum_over_stages():
    classifier, x = joined(), make_image(64, 96)[None]
    stages = classifier.backbone.stages(x)
    evidence = classifier.evidence(stages)
    assert evidence.shape == (1, 3, 8, 12)
    with torch.no_grad():
        classifier.classifier.weight.zero_()
    fine = classifier.sides[0](classifier.norms[0](stages[2]))
    torch.testing.assert_close(classifier.evidence(stages), fine)
    assert not torch.allclose(evidence, fine)


def test_the_bias_is_in_the_logits_and_not_in_the_maps():
    classifier, x = joined(), make_image()[None]
    logits, maps = classifier(x), classifier.cams(x)
    with torch.no_grad():
        classifier.classifier.bias += 2
    torch.testing.assert_close(classifier(x), logits + 2)
    torch.testing.assert_close(classifier.cams(x), maps)


def test_each_stage_alone_gives_its_logits_and_their_sum_those_of_the_classifier():
    classifier, x = joined(), make_image()[None]
    together, *alone = StageLogits(classifier)(x)
    torch.testing.assert_close(together, classifier(x))
    each = classifier.stage_evidence(classifier.backbone.stages(x))
    torch.testing.assert_close(torch.stack(each).sum(dim=0), classifier.evidence(classifier.backbone.stages(x)))
    for logits, evidence in zip(alone, each, strict=True):
        torch.testing.assert_close(logits, pool(evidence.flatten(2), classifier.head))


def test_all_that_is_new_is_in_the_fast_part():
    classifier = joined()
    new = {id(p) for p in classifier.parameters()} - {id(p) for p in classifier.backbone.parameters()}
    assert {id(p) for p in classifier.fast_part().parameters()} == new


@pytest.mark.parametrize("stages", [(7,), ()])
def test_a_stage_that_the_backbone_has_not_is_refused(stages):
    with pytest.raises(UserError, match=r"cam\.head_stages"):
        Classifier(TinyBackbone(), 3, head=HeadSettings(stages))
