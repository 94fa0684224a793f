"""timm's networks as backbones: what is refused, frozen and loaded, and maps of transformers where these can be known.

test_backbone.py has the maps and gradients of all networks.
"""

import copy

import pytest
import timm
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from models.backbone import build_backbone
from models.chain import Backbone, stage_levels
from models.classifier import Classifier
from models.method import Method
from models.reading import map_size
from models.steps import ClassActivationMap, GradFusion, PartialReactivation
from models.timm_chain import Frame, TimmBackbone, create
from utils.errors import UserError

VIT = "vit_tiny_patch16_224"
REFUSED = (
    "mixer_s16_224", "levit_128s", "hiera_tiny_224", "efficientformer_l1", "coatnet_0_rw_224", "beit_base_patch16_224",
)  # fmt: skip


@pytest.fixture(scope="module")
def vit() -> TimmBackbone:
    torch.manual_seed(0)
    return TimmBackbone(VIT).eval().requires_grad_(False)


@pytest.mark.parametrize(
    "name",
    [REFUSED[0], *(pytest.param(name, marks=pytest.mark.slow) for name in REFUSED[1:]), "mobilenetv3_small_nothing"],
)
def test_what_cannot_work_is_refused_with_a_reason_and_three_names_that_work(name):
    with pytest.raises(UserError, match=rf"timm/{name}.*: .*timm/\w+, timm/\w+ or timm/\w+"):
        build_backbone(f"timm/{name}", "none")


def test_the_level_of_a_stage_is_its_stride_or_its_depth():
    for strides in ((2, 4, 8, 16, 16, 16), (4, 8, 16, 32), (16,)):
        assert stage_levels(strides) == strides
    assert stage_levels((14,) * 4) == (4, 8, 16, 16)
    assert stage_levels((16,) * 12) == (4,) * 3 + (8,) * 3 + (16,) * 6
    assert stage_levels((8,) * 2) == (8, 16)


def test_the_method_reads_a_transformer_by_depth(vit):
    assert GradFusion().gradient_stages(vit.strides) == [1, 2]
    assert PartialReactivation().feature_stages(vit.strides) == [2]
    classifier = Classifier(vit, 3).eval().requires_grad_(False)
    steps = (ClassActivationMap(scales=(1.0, 0.5)), GradFusion(), PartialReactivation())
    maps = Method(steps)(classifier, torch.randn(3, 70, 90), [0, 2])
    assert maps.shape == (2, *map_size(70, 90))
    assert maps.amax(dim=(1, 2)).tolist() == [1, 1]


@pytest.mark.parametrize(("depth", "blocks"), [(0.0, 0), (0.25, 3), (0.5, 6), (1.0, 12)])
def test_a_part_of_the_depth_is_frozen(vit, depth, blocks):
    try:
        vit.requires_grad_(True).freeze(8, depth)
        frozen = {name for name, parameter in vit.net.named_parameters() if not parameter.requires_grad}
    finally:
        vit.requires_grad_(False)
    prefixes = [f"blocks.{i}." for i in range(blocks)]
    prefixes += ["cls_token", "pos_embed", "patch_embed."] if blocks else []
    prefixes += ["norm."] if depth == 1 else []
    assert frozen == {name for name, _ in vit.net.named_parameters() if name.startswith(tuple(prefixes))}


def test_a_network_without_blocks_is_frozen_by_stride_alone():
    with pytest.raises(UserError, match=r"frozen_depth: 0\.5 is for timm/ backbones"):
        build_backbone("efficientnet_lite0", "none").freeze(0, 0.5)


@pytest.mark.parametrize(("name", "windows"), [("tiny_vit_5m_224", True), (VIT, False)])
def test_windows_are_known(name, windows):
    assert build_backbone(f"timm/{name}", "none").has_windows == windows


def test_a_file_as_published_is_read_and_another_network_refuses_it(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"model": timm.create_model("resnet10t").state_dict()}, path)
    with pytest.raises(UserError, match=r"model\.pth does not fit the network: 0 of its \d+ entries fit"):
        build_backbone(f"timm/{VIT}", str(path))
    for name in (VIT, "convnext_atto"):  # the second one is cut into features, with other names
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
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(expected, match=message):
        create("vit_small_patch14_dinov2", pretrained)


def test_a_backbone_can_be_copied(vit):
    twin: Backbone = copy.deepcopy(vit)
    x = torch.randn(1, 3, 40, 40)
    for one, other in zip(twin.stages(x, grad_from=1), vit.stages(x, grad_from=1), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", [pytest.param("hrnet_w18_small", marks=pytest.mark.slow), "mobilenetv3_small_050"])
def test_random_weights_give_features_that_can_be_learned_from(name):
    torch.manual_seed(0)
    backbone = build_backbone(f"timm/{name}", "none")
    norms = [module for module in backbone.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert None not in {norm.momentum for norm in norms}
    with torch.no_grad():
        assert 0.01 < backbone(torch.randn(1, 3, 96, 96)).std() < 100


@pytest.mark.parametrize(
    ("name", "near"),
    [("swin_tiny", r"swin_tiny_patch4_window7_224\)"), ("mobilenetv3_smal_050", "mobilenetv3_small_050, ")],
)
def test_a_name_that_timm_does_not_know_is_told_with_the_nearest(name, near):
    with pytest.raises(UserError, match=rf"timm has no such network \(near it: timm/{near}"):
        build_backbone(f"timm/{name}", "none")


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


NETWORKS = ("vit_tiny_patch16_224", "eva02_tiny_patch14_224")
SIZES = [(64, 112), (65, 97), (33, 40)]
RED = 5.0


@pytest.fixture(scope="module", params=NETWORKS)
def mean_red(request) -> Classifier:
    """A transformer that says of each patch its mean red, and a classifier whose class 0 is red."""
    backbone = build_backbone(f"timm/{request.param}", "none")
    assert isinstance(backbone, TimmBackbone)
    for parameter in backbone.parameters():
        parameter.data.zero_()
    stride = backbone.strides[0]
    backbone.net.patch_embed.proj.weight.data[0, 0] = 1 / stride**2
    backbone.net.norm = torch.nn.Identity()
    classifier = Classifier(backbone, 2)
    classifier.classifier.weight.data.zero_()
    classifier.classifier.weight.data[0, 0] = RED
    return classifier.eval().requires_grad_(False)


def red_of_patches(images: Tensor, stride: int) -> Tensor:
    """Mean red of each patch, where the images lie in the middle of whole patches of zeros."""
    rests = [-side % stride for side in images.shape[-2:]]
    around = (rests[1] // 2, rests[1] - rests[1] // 2, rests[0] // 2, rests[0] - rests[0] // 2)
    return avg_pool2d(pad(images[:, :1], around), stride)


@pytest.mark.parametrize("size", SIZES)
def test_each_cell_is_its_own_patch(mean_red, size):
    images = torch.rand(2, 3, *size)
    expected = red_of_patches(images, mean_red.backbone.strides[0])
    for stage in mean_red.backbone.stages(images):
        torch.testing.assert_close(stage[:, :1], expected)
        assert stage[:, 1:].abs().max() == 0


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_gradients_of_a_logit_are_finite_differences(stage):
    torch.manual_seed(stage)
    backbone = build_backbone(f"timm/{NETWORKS[1]}", "none")
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
