"""The classifier: logits and maps are two readings of the same linear head; what the head reads, and its poolings."""

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


def with_bias() -> Classifier:
    classifier = Classifier(TinyBackbone(), 4, bias=True).eval()
    classifier.classifier.weight.data.copy_(tiny_classifier().classifier.weight)
    return classifier


def test_maps_are_the_rectified_head_on_the_last_stage_and_logits_its_mean(x):
    classifier = tiny_classifier()
    weight = classifier.classifier.weight[:, :, 0, 0]
    unrectified = torch.einsum("cd,bdhw->bchw", weight, classifier.backbone(x))
    torch.testing.assert_close(cams(classifier, x), unrectified.clamp_min(0))
    torch.testing.assert_close(classifier(x), unrectified.mean(dim=(2, 3)))
    assert (unrectified < 0).any()
    assert (unrectified > 0).any()
    assert classifier.classifier.bias is None


@pytest.mark.parametrize("build", [with_bias, joined])
def test_a_bias_moves_the_logits_and_no_map(x, build):
    classifier = build()
    bias = torch.tensor([1.0, -2.0, 3.0, 0.5])[: classifier.num_classes]
    with torch.no_grad():
        classifier.classifier.bias.zero_()
        logits, maps = classifier(x), cams(classifier, x)
        classifier.classifier.bias.copy_(bias)
    torch.testing.assert_close(classifier(x), logits + bias)
    torch.testing.assert_close(cams(classifier, x), maps)


def test_a_built_classifier_is_ready_to_use(tiny_backbone, x):
    classifier = build_classifier(tiny_backbone, 7, "none")
    assert not classifier.training
    assert classifier(x).shape == (2, classifier.num_classes) == (2, 7)
    assert all(parameter.requires_grad for parameter in classifier.parameters())


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_logit_does_not_depend_on_how_often_the_same_cells_come(pooling):
    evidence = torch.randn(2, 3, 200, generator=torch.Generator().manual_seed(0))
    head = HeadSettings(pooling=pooling, top_share=0.05)
    torch.testing.assert_close(pool(evidence, head), pool(evidence.repeat(1, 1, 3), head))
    torch.testing.assert_close(pool(torch.full((1, 2, 50), 1.5), head), torch.full((1, 2), 1.5))


def test_one_strong_cell_of_a_thousand_decides_but_not_by_the_mean():
    evidence = torch.full((1, 1, 1000), -3.0)
    evidence[..., 7] = 12.0
    decided = [bool(pool(evidence, HeadSettings(pooling=name, top_share=0.001)) > 0) for name in POOLINGS]
    assert decided == [False, True, True]


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


def test_each_stage_alone_gives_its_logits_and_their_sum_those_of_the_classifier(x):
    classifier = joined()
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
