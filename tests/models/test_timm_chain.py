"""timm's networks as backbones: maps and gradients of transformers, at sizes that are no multiple of anything."""

import math

import pytest
import timm
import torch

from models.backbone import build_backbone
from models.chain import IMAGENET_MEAN, IMAGENET_STD, Backbone, stage_levels
from models.classifier import Classifier
from models.method import Method
from models.reading import Views, map_size, read
from models.steps import ClassActivationMap, GradFusion, PartialReactivation
from models.timm_chain import TimmBackbone
from models.timm_taps import Frame
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
    "mixer_s16_224",
    "levit_128s",
    "hiera_tiny_224",
    "efficientformer_l1",
    "coatnet_0_rw_224",
    "beit_base_patch16_224",
)
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
    full, short = backbone.stages(x.requires_grad_()), backbone.stages(x.detach(), grad_from=1)
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


def patch_classifier(backbone: TimmBackbone, red: float = 5.0) -> Classifier:
    """A vision transformer whose blocks say nothing, and whose class 0 answers to the redness of a patch."""
    net = backbone.net
    for parameter in net.parameters():
        parameter.data.zero_()
    net.patch_embed.proj.weight.data[0, 0] = 1 / 16**2  # channel 0: the patch's mean red
    net.norm = torch.nn.Identity()
    classifier = Classifier(backbone, 2)
    classifier.classifier.weight.data.zero_()
    classifier.classifier.weight.data[0, 0] = red
    return classifier.eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(96, 128), (101, 135), (90, 65)])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scales", [(1.0,), (1.0, 2.0), (0.5, 1.5)])
def test_the_patch_that_answers_is_the_one_that_lights(size, flip, scales):
    classifier = patch_classifier(build_backbone(f"timm/{VIT}", "none"))
    image = torch.zeros(3, *size)
    centre = (56, 40)
    image[0, centre[0] - 8 : centre[0] + 8, centre[1] - 8 : centre[1] + 8] = 1
    maps = read(classifier, image, [0, 1], Views(scales, flip)).cam
    rows, columns = map_size(*size)
    assert maps.shape == (2, rows, columns)
    assert maps[1].abs().max() == 0
    y = (maps[0].sum(dim=1) * (torch.arange(rows) + 0.5)).sum() / maps[0].sum() * size[0] / rows
    x = (maps[0].sum(dim=0) * (torch.arange(columns) + 0.5)).sum() / maps[0].sum() * size[1] / columns
    assert abs(y - centre[0]) < 8
    assert abs(x - centre[1]) < 8


def test_an_image_and_its_mirror_image_have_the_same_maps(vit):
    """With patches and position embeddings that are their own mirror images, the network cannot tell the two apart."""
    backbone = build_backbone(f"timm/{VIT}", "none").requires_grad_(False)
    weight, position = backbone.net.patch_embed.proj.weight.data, backbone.net.pos_embed.data
    weight.copy_((weight + weight.flip(-1)) / 2)
    grid = position[:, 1:].unflatten(1, (14, 14))
    position[:, 1:] = ((grid + grid.flip(2)) / 2).flatten(1, 2)
    x = torch.randn(1, 3, 80, 112 + 2 * 5)
    torch.testing.assert_close(backbone(x.flip(-1)).flip(-1), backbone(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("stage", [0, 2])
def test_gradients_are_finite_differences(vit, stage):
    backbone = build_backbone(f"timm/{VIT}", "none").double().requires_grad_(False)
    x = torch.randn(1, 3, 50, 40, dtype=torch.float64)
    maps = backbone.stages(x, grad_from=stage)
    weight = torch.randn_like(maps[-1])
    (gradient,) = torch.autograd.grad((maps[-1] * weight).sum(), maps[stage])
    direction, step = torch.randn_like(maps[stage]), 1e-5
    name = backbone.cut.stages[stage].name

    def moved(sign: float) -> float:
        def move(module, inputs, output):  # tokens, the first of which is the class token
            return torch.cat([output[:, :1], output[:, 1:] + sign * step * direction.flatten(2).mT], dim=1)

        handle = backbone.net.get_submodule(name).register_forward_hook(move)
        try:
            return float((backbone(x) * weight).sum())
        finally:
            handle.remove()

    difference = (moved(1) - moved(-1)) / (2 * step)
    assert difference == pytest.approx(float((gradient * direction).sum()), rel=1e-5)


def test_class_and_register_tokens_are_in_no_map():
    backbone = build_backbone("timm/vit_small_patch16_dinov3", "none")
    assert [stage.prefix for stage in backbone.cut.stages] == [5] * 4
    with torch.no_grad():
        maps = backbone.stages(torch.randn(1, 3, 33, 40))
        tokens = backbone.net.forward_features(torch.nn.functional.pad(torch.zeros(1, 3, 33, 40), (4, 4, 7, 8)))
    assert maps[-1].shape[-2:] == (3, 3)
    assert tokens.shape[1] == 5 + 9


@pytest.mark.parametrize(
    ("strides", "levels"),
    [
        ((2, 4, 8, 16, 16, 16), (2, 4, 8, 16, 16, 16)),
        ((4, 8, 16, 32), (4, 8, 16, 32)),
        ((14,) * 4, (4, 8, 16, 16)),
        ((16,) * 12, (4,) * 3 + (8,) * 3 + (16,) * 6),
        ((8,) * 2, (8, 16)),
        ((16,), (16,)),
    ],
)
def test_the_level_of_a_stage_is_its_stride_or_its_depth(strides, levels):
    assert stage_levels(strides) == levels


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
    expected = {
        name for name, _ in vit.net.named_parameters() if name.startswith(tuple(f"blocks.{i}." for i in range(blocks)))
    }
    if blocks:
        expected |= {"cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}
    if depth == 1:
        expected |= {"norm.weight", "norm.bias"}
    assert frozen == expected


def test_a_convolutional_network_is_frozen_by_stride():
    backbone = build_backbone("timm/mobilenetv3_small_050", "none")
    backbone.freeze(8)
    features = backbone.stages(torch.randn(1, 3, 64, 64))
    assert [feature.requires_grad for feature in features] == [stride > 8 for stride in backbone.strides]


def test_depth_is_for_networks_that_know_their_blocks():
    with pytest.raises(UserError, match=r"frozen_depth: 0\.5 is for timm/ backbones"):
        build_backbone("efficientnet_lite0", "none").freeze(0, 0.5)


@pytest.mark.parametrize("ending", ["safetensors", "pth", "bin"])
def test_a_file_as_published_is_read(tmp_path, ending):
    from safetensors.torch import save_file

    torch.manual_seed(1)
    state = timm.create_model(VIT).state_dict()  # with its head for 1,000 classes
    path = tmp_path / f"model.{ending}"
    save_file(state, path) if ending == "safetensors" else torch.save({"model": state}, path)
    loaded = build_backbone(f"timm/{VIT}", str(path)).net.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())


def test_a_file_of_a_convolutional_network_is_read(tmp_path):
    state = timm.create_model("convnext_atto").state_dict()
    torch.save(state, tmp_path / "model.pth")
    loaded = build_backbone("timm/convnext_atto", str(tmp_path / "model.pth"))
    assert torch.equal(loaded.net.state_dict()["stem_0.weight"], state["stem.0.weight"])


def test_a_file_of_another_network_is_refused(tmp_path):
    torch.save(timm.create_model("mobilenetv3_small_050").state_dict(), tmp_path / "model.pth")
    with pytest.raises(UserError, match=r"model\.pth does not fit the network: 0 of its \d+ entries fit"):
        build_backbone(f"timm/{VIT}", str(tmp_path / "model.pth"))
    (tmp_path / "model.safetensors").write_bytes(b"no such thing")
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read as weights"):
        build_backbone(f"timm/{VIT}", str(tmp_path / "model.safetensors"))


def test_weights_that_cannot_be_had_name_the_file(monkeypatch):
    def fail(*args, **options):
        raise ConnectionError("no network")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(
        UserError, match=r"model\.safetensors of https://huggingface\.co/timm/vit_small_patch14_dinov2\.lvd142m"
    ):
        build_backbone("timm/vit_small_patch14_dinov2", "imagenet")


@pytest.mark.parametrize(
    ("error", "pretrained", "expected", "message"),
    [
        (
            RuntimeError("No pretrained weights exist for it"),
            True,
            UserError,
            "are not published for this name; the file is",
        ),
        (ConnectionError("no network"), True, UserError, r"could not be had \(ConnectionError\); the file is"),
        (RuntimeError("No pretrained weights exist for it"), False, RuntimeError, "^No pretrained weights"),
        (RuntimeError("out of memory"), True, RuntimeError, "^out of memory$"),
    ],
)
def test_only_missing_weights_are_a_users_matter(monkeypatch, error, pretrained, expected, message):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(expected, match=message):
        create(VIT, pretrained)


def test_a_network_that_does_not_describe_itself_has_imagenets_normalisation(monkeypatch):
    make = timm.create_model

    def bare(*args, **options):
        net = make(*args, **options)
        net.pretrained_cfg = None
        return net

    monkeypatch.setattr(timm, "create_model", bare)
    backbone = TimmBackbone("mobilenetv3_small_050")
    assert (backbone.mean, backbone.std) == (IMAGENET_MEAN, IMAGENET_STD)


@pytest.mark.parametrize(("sides", "cell", "unit"), [((75, 49), 16, 16), ((64, 64), 32, 224), ((7, 300), 14, 14)])
def test_a_frame_keeps_the_image_in_the_middle_of_its_cells(sides, cell, unit):
    frame = Frame.around(sides, cell, unit)
    x = torch.randn(1, 1, *sides)
    wrapped = frame.wrap(x)
    assert all(side % unit == 0 for side in wrapped.shape[-2:])
    assert torch.equal(frame.crop(wrapped, 1), x)
    for before, side in zip(frame.before, sides, strict=True):
        assert before in (-side % cell // 2, -(side % -cell) // 2)
    part = torch.randn_like(x)
    assert torch.equal(frame.crop(frame.paste(wrapped, part, 1), 1), part)
    assert torch.equal(frame.paste(wrapped, x, 1), wrapped)


def test_a_backbone_can_be_copied(vit):
    import copy

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


@pytest.mark.parametrize(("name", "windows"), [("tiny_vit_5m_224", True), (VIT, False)])
def test_windows_are_known(name, windows):
    assert build_backbone(f"timm/{name}", "none").has_windows == windows
