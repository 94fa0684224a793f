"""timm's networks as backbones: maps and gradients of transformers, at sizes that are no multiple of anything."""

import copy
import math

import pytest
import timm
import torch

from models.backbone import build_backbone
from models.chain import Backbone, stage_levels
from models.classifier import Classifier
from models.method import Method
from models.reading import map_size
from models.steps import ClassActivationMap, GradFusion, PartialReactivation
from models.timm_chain import TimmBackbone
from models.timm_weights import create
from utils.errors import UserError

VIT = "vit_tiny_patch16_224"
QUICK = (VIT, "xcit_nano_12_p16_224", "edgenext_xx_small", "mobilenetv3_small_050")
MORE = (
    "resnet18", "convnext_atto", "swin_tiny_patch4_window7_224", "vit_small_patch14_dinov2", "vit_small_patch16_dinov3",
    "vit_base_patch16_clip_224", "deit3_small_patch16_224", "eva02_small_patch14_224", "maxvit_tiny_tf_224",
    "tf_efficientnetv2_s", "hrnet_w18", "mobilenetv3_large_100", "poolformer_s12", "davit_tiny", "pvt_v2_b0",
    "regnety_002",
    "resnext50_32x4d", "repvgg_a0", "mobilevit_s", "mobilevitv2_050", "fastvit_t8", "tiny_vit_5m_224", "nextvit_small",
    "twins_svt_small", "efficientvit_b0",
)  # fmt: skip
REFUSED = (
    "mixer_s16_224", "levit_128s", "hiera_tiny_224", "efficientformer_l1", "coatnet_0_rw_224", "beit_base_patch16_224",
)  # fmt: skip
SIZE = (75, 49)


@pytest.fixture(scope="module")
def vit() -> TimmBackbone:
    torch.manual_seed(0)
    return TimmBackbone(VIT).eval().requires_grad_(False)


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_any_network_gives_maps_and_gradients_at_any_size(name):
    torch.manual_seed(0)
    backbone = build_backbone(f"timm/{name}", "none")
    x = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        plain = backbone.stages(x)
        assert torch.equal(backbone(x), plain[-1])
    for map_, channels, stride in zip(plain, backbone.channels, backbone.strides, strict=True):
        assert map_.shape == (2, channels, *(math.ceil(side / stride) for side in SIZE))
    trained = torch.autograd.grad(backbone(x).square().sum(), list(backbone.parameters()), allow_unused=True)
    assert sum(gradient is not None for gradient in trained) > 0.8 * len(trained)
    backbone.requires_grad_(False)
    weight = torch.randn_like(plain[-1])
    wanted = range(1, len(plain))
    full, short = backbone.stages(x, grad_from=0), backbone.stages(x, grad_from=1)
    assert short[1].is_leaf
    assert not short[0].requires_grad
    for one, other in zip(plain, short, strict=True):
        assert torch.equal(one, other)
    pairs = [torch.autograd.grad((maps[-1] * weight).sum(), [maps[i] for i in wanted]) for maps in (full, short)]
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one, other)
        assert one.abs().max() > 0


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


@pytest.mark.parametrize("ending", ["safetensors", "pth", "bin"])
def test_a_file_as_published_is_read(tmp_path, ending):
    from safetensors.torch import save_file

    torch.manual_seed(1)
    state = timm.create_model(VIT).state_dict()  # with its head for 1,000 classes
    path = tmp_path / f"model.{ending}"
    save_file(state, path) if ending == "safetensors" else torch.save({"model": state}, path)
    loaded = build_backbone(f"timm/{VIT}", str(path)).net.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())


def test_a_file_of_a_convolutional_network_is_read_and_another_network_refuses_it(tmp_path):
    state = timm.create_model("convnext_atto").state_dict()
    torch.save(state, tmp_path / "model.pth")
    loaded = build_backbone("timm/convnext_atto", str(tmp_path / "model.pth"))
    assert torch.equal(loaded.net.state_dict()["stem_0.weight"], state["stem.0.weight"])
    with pytest.raises(UserError, match=r"model\.pth does not fit the network: 0 of its \d+ entries fit"):
        build_backbone(f"timm/{VIT}", str(tmp_path / "model.pth"))


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
    assert not any(norm.training for norm in norms)
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
