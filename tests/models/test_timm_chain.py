"""timm's networks as backbones: what is refused, frozen and loaded, and maps of transformers where these can be known.

test_backbone.py has the maps and gradients of all networks.
"""

import copy
from unittest.mock import Mock

import pytest
import timm
import torch
from torch.nn.functional import avg_pool2d, pad

from models.backbone import build_backbone
from models.chain import stage_levels
from models.classifier import Classifier
from models.method import Method
from models.reading import map_size
from models.steps import ClassActivationMap, GradFusion, PartialReactivation
from models.timm_chain import Frame, TimmBackbone, create
from tests.models.test_timm_cut import Steps
from tests.models.tiny import TinyBackbone
from utils.errors import UserError

VIT = "test_vit"  # of timm's own tests: a small transformer with patches of 16 pixels
REFUSED = (
    "mixer_s16_224", "levit_128s", "hiera_tiny_224", "efficientformer_l1", "coatnet_0_rw_224", "beit_base_patch16_224",
)  # fmt: skip


@pytest.fixture(scope="module")
def vit() -> TimmBackbone:
    torch.manual_seed(0)
    return TimmBackbone(VIT).eval().requires_grad_(False)


@pytest.mark.parametrize("name", [VIT, *(pytest.param(name, marks=pytest.mark.slow) for name in REFUSED)])
def test_what_cannot_work_is_refused_with_a_reason_and_three_names_that_work(monkeypatch, name):
    if name == VIT:
        monkeypatch.setattr("models.timm_chain.create", lambda *given, **options: Steps(7))
    with pytest.raises(UserError, match=rf"timm/{name} cannot be used: it .*timm/\w+, timm/\w+ or timm/\w+"):
        build_backbone(f"timm/{name}", "none")


def test_the_level_of_a_stage_is_its_stride_or_its_depth_by_which_the_method_reads_a_transformer(vit):
    for strides in ((2, 4, 8, 16, 16, 16), (4, 8, 16, 32), (16,)):
        assert stage_levels(strides) == strides
    assert stage_levels((14,) * 4) == (4, 8, 16, 16)
    assert stage_levels((16,) * 12) == (4,) * 3 + (8,) * 3 + (16,) * 6
    assert stage_levels((8,) * 2) == (8, 16)
    assert GradFusion().gradient_stages(vit.strides) == [1, 2]
    assert PartialReactivation().feature_stages(vit.strides) == [2]
    classifier = copy.deepcopy(Classifier(vit, 3).eval().requires_grad_(False))  # as exports copy it
    steps = (ClassActivationMap(scales=(1.0, 0.5)), GradFusion(), PartialReactivation())
    maps = Method(steps)(classifier, torch.randn(3, 70, 90), [0, 2])
    assert maps.shape == (2, *map_size(70, 90))
    assert maps.amax(dim=(1, 2)).tolist() == [1, 1]
    x = torch.randn(1, 3, 40, 40)
    for one, other in zip(*(each.stages(x, grad_from=1) for each in (classifier.backbone, vit)), strict=True):
        assert torch.equal(one, other)
    assert vit.mean == vit.std == (0.5, 0.5, 0.5)  # what its images were normalised with, and not ImageNet's


@pytest.mark.long
@pytest.mark.parametrize(("name", "windows"), [("tiny_vit_5m_224", True), (VIT, False)])
def test_windows_are_known(name, windows):
    assert TimmBackbone(name).has_windows == windows


def test_a_part_of_the_depth_is_frozen_of_networks_that_have_blocks(vit):
    assert not vit.has_windows
    for depth, blocks in ((0.0, 0), (0.25, 1), (0.5, 3), (1.0, 6)):
        twin = copy.deepcopy(vit).requires_grad_(True)
        twin.freeze(8, depth)
        frozen = {name for name, parameter in twin.net.named_parameters() if not parameter.requires_grad}
        prefixes = [f"blocks.{i}." for i in range(blocks)]
        prefixes += ["cls_token", "pos_embed", "patch_embed."] if blocks else []
        prefixes += ["norm."] if depth == 1 else []
        assert frozen == {name for name, _ in vit.net.named_parameters() if name.startswith(tuple(prefixes))}
    with pytest.raises(UserError, match=r"frozen_depth: 0\.5 is for timm/ backbones"):
        TinyBackbone().freeze(0, 0.5)


def test_a_file_as_published_is_read_and_another_network_refuses_it(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"model": timm.create_model("test_resnet").state_dict()}, path)
    with pytest.raises(UserError, match=r"model\.pth does not fit the network: 0 of its \d+ entries fit"):
        build_backbone(f"timm/{VIT}", str(path))
    for name in (VIT, "test_convnext"):  # the second one is cut into features, with other names
        state = timm.create_model(name).state_dict()  # with its head for 1,000 classes
        torch.save({"model": state}, path)
        published = {key.replace(".", "_"): tensor for key, tensor in state.items()}
        for key, tensor in build_backbone(f"timm/{name}", str(path)).net.state_dict().items():
            assert torch.equal(tensor, published[key.replace(".", "_")]), key


FILE = r"model\.safetensors of https://huggingface\.co/timm/vit_small_patch14_dinov2\.lvd142m.*model\.weights to none"


@pytest.mark.parametrize(
    ("error", "pretrained", "expected", "message"),
    [
        (RuntimeError("No pretrained weights exist for it"), True, UserError, r"are not published for this name; the "),
        (ConnectionError("no network"), True, UserError, rf"could not be had \(ConnectionError\); the file is {FILE}"),
        (RuntimeError("No pretrained weights exist for it"), False, RuntimeError, "^No pretrained weights"),
        (RuntimeError("out of memory"), True, RuntimeError, "^out of memory$"),
    ],
)
def test_only_missing_weights_are_a_users_matter_and_their_file_is_named(
    monkeypatch, error, pretrained, expected, message
):
    monkeypatch.setattr(timm, "create_model", Mock(side_effect=error))
    with pytest.raises(expected, match=message):
        create("vit_small_patch14_dinov2", pretrained)


@pytest.mark.parametrize("name", [pytest.param("hrnet_w18_small", marks=pytest.mark.slow), "test_efficientnet"])
def test_random_weights_give_features_that_can_be_learned_from(name):
    torch.manual_seed(0)
    backbone = build_backbone(f"timm/{name}", "none")
    norms = [module for module in backbone.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert None not in {norm.momentum for norm in norms}
    assert 0.01 < backbone(torch.randn(1, 3, 96, 96)).std() < 100


def test_a_frame_is_as_wide_as_the_cells_need():
    frame, x = Frame((10, 33), 16, 32), torch.rand(1, 1, 10, 33) + 1
    assert (frame.before, frame.whole) == ((3, 7), (32, 64))
    wrapped, map_ = frame.wrap(x), torch.arange(16 * 32.0).view(1, 1, 16, 32)
    assert torch.equal(wrapped[..., 3:13, 7:40], x)
    assert wrapped.count_nonzero() == x.numel()
    part, coarse = frame.crop(map_, 2), map_[..., :2, :4]
    assert torch.equal(part, map_[..., 1:6, 3:20])
    assert torch.equal(frame.crop(coarse, 16), coarse[..., :1, :3])
    assert torch.equal(frame.crop(frame.paste(map_, -part, 2), 2), -part)


@pytest.fixture(scope="module")
def eva() -> TimmBackbone:
    """Patches of 14 pixels."""
    torch.manual_seed(0)
    return TimmBackbone("eva02_tiny_patch14_224").eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(64, 112), (56, 112), (65, 97), (33, 40)])
@pytest.mark.parametrize(("name", "patch"), [("vit", 16), ("eva", 14)])
def test_each_cell_is_its_own_patch(request, name, patch, size):
    """The network gives the mean red of each patch, of an image in the middle of whole patches of zeros."""
    backbone, images = copy.deepcopy(request.getfixturevalue(name)), torch.rand(2, 3, *size)
    for parameter in backbone.parameters():
        parameter.zero_()
    backbone.net.patch_embed.proj.weight[0, 0] = 1 / patch**2
    backbone.net.norm = torch.nn.Identity()
    down, right = (-side % patch for side in size)
    framed = pad(images[:, :1], (right // 2, right - right // 2, down // 2, down - down // 2))
    for stage in backbone.stages(images):
        torch.testing.assert_close(stage[:, :1], avg_pool2d(framed, patch))
        assert stage[:, 1:].abs().max() == 0


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_gradients_of_a_logit_are_finite_differences(eva, stage):
    backbone = copy.deepcopy(eva)
    classifier = Classifier(backbone, 3).double().eval().requires_grad_(False)
    x, step = torch.randn(1, 3, 33, 40, dtype=torch.float64), 1e-5
    stages = backbone.stages(x, grad_from=stage)
    (gradient,) = torch.autograd.grad(classifier.logits(stages)[0, 1], stages[stage])
    assert gradient.abs().amax(dim=1).min() > 0  # each cell counts
    direction = torch.randn_like(gradient)
    where = backbone.net.get_submodule(backbone.cut.stages[stage].name)

    def moved(distance: float) -> float:
        def move(module, inputs, tokens):  # the first one is the class token
            return torch.cat([tokens[:, :1], tokens[:, 1:] + distance * direction.flatten(2).mT], dim=1)

        with where.register_forward_hook(move):
            return float(classifier(x)[0, 1])

    difference = (moved(step) - moved(-step)) / (2 * step)
    assert difference == pytest.approx(float((gradient * direction).sum()), rel=1e-5)
