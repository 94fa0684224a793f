"""The ONNX file gives the network's logits, at any size, from plain pixels."""

import contextlib
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from data.images import read_image
from data.transforms import normalise
from exports import onnx as onnx_export
from exports.onnx import FromPixels, export_onnx
from models.backbone import BACKBONES
from models.segmenter import Segmenter, build_segmenter
from stages.config import load_config
from stages.networks import save_network
from tests.models.tiny import TinyBackbone
from tests.project import call

pytestmark = pytest.mark.long

NAMES = ("cat", "dög", "train")
INSTALLED = "json"  # in place of onnxruntime: any module that is installed


class Shifted(TinyBackbone):
    """A backbone whose pixels are shifted and scaled by other numbers than those of ImageNet."""

    def __init__(self):
        super().__init__()
        self.mean, self.std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def tiny_segmenter() -> Segmenter:
    torch.manual_seed(0)
    network = Segmenter(Shifted(), len(NAMES) + 1, -1).eval().requires_grad_(False)
    torch.nn.init.normal_(network.head[-1].weight)
    return network


def needs(*packages: str) -> None:
    for name in packages:
        pytest.importorskip(name, reason=f"needs {name} (requirements-extras.txt)")


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """What the command makes of a checkpoint."""
    needs("onnx", "onnxscript")
    checkpoint, path = tmp_path_factory.mktemp("network") / "net.pth", tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "tiny", lambda imagenet: Shifted())
        cfg = load_config(None, overrides=["model.backbone=tiny", "segment.stage=-1"])
        save_network(checkpoint, "segmenter", tiny_segmenter(), NAMES, cfg, {})
        call("exports.onnx", checkpoint, path).well()
    return path


def session(path: Path):
    needs("onnxruntime")
    return sys.modules["onnxruntime"].InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_logits_are_the_networks_at_any_size_and_the_file_says_what_it_is(exported):
    running, network = session(exported), tiny_segmenter()
    for batch, height, width in ((1, 64, 96), (3, 33, 50), (1, 192, 224), (1, 32, 32)):
        pixels = np.random.default_rng(0).integers(0, 256, (batch, 3, height, width), dtype=np.uint8)
        (logits,) = running.run(None, {"image": pixels.astype(np.float32)})
        images = [normalise(image, network.backbone.mean, network.backbone.std) for image in torch.from_numpy(pixels)]
        by_hand = interpolate(network(torch.stack(images)), (height, width), mode="bilinear", align_corners=False)
        assert logits.shape == (batch, len(NAMES) + 1, height, width)
        assert logits.std() > 0.01
        assert np.abs(logits - by_hand.numpy()).max() < 1e-4
    about = running.get_modelmeta().custom_metadata_map
    found = [json.loads(about[name]) for name in ("classes", "mean", "std")]
    assert found == [["background", *NAMES], [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]]
    assert ("0..255" in about["input"], about["backbone"]) == (True, "tiny")
    (given,), (back,) = running.get_inputs(), running.get_outputs()
    assert (given.name, given.shape[1], back.name, back.shape[1]) == ("image", 3, "logits", 4)
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]  # no weights beside it


class OfOneSize(TinyBackbone):
    """A backbone that computes with the image's size, as some transformers do."""

    def stages(self, x, grad_from=None, last=None):
        return super().stages(x * float(int(x.shape[-1]) // 32), grad_from, last)


class OfWindows(TinyBackbone):
    """A backbone that says that all sizes would take the exporter too long."""

    has_windows = True


@pytest.mark.parametrize("backbone", [OfOneSize, OfWindows])
def test_a_network_that_cannot_be_exported_for_all_sizes_is_for_one(exported, tmp_path, backbone):
    network = Segmenter(backbone(), len(NAMES) + 1).eval().requires_grad_(False)
    written = export_onnx(network, NAMES, "tiny", tmp_path / "one.onnx", else_size=(64, 96))
    assert re.match(r"logits within \d\.\de-0[5-9] .*; it takes images of 64 x 96 pixels only, because tiny ", written)
    running = session(tmp_path / "one.onnx")
    assert running.get_inputs()[0].shape[2:] == [64, 96]
    assert "(batch, 3, 64, 96)" in running.get_modelmeta().custom_metadata_map["input"]


def pretend(monkeypatch, module, difference: float) -> None:
    """An exporter that writes some file, and an onnxruntime whose logits are the module's and a difference."""
    running = SimpleNamespace(
        run=lambda names, given: [module(torch.from_numpy(given["image"])).detach().numpy() + np.float32(difference)]
    )
    program = SimpleNamespace(
        model=SimpleNamespace(metadata_props={}), save=lambda path, external_data: path.write_bytes(b"onnx")
    )
    monkeypatch.setattr(onnx_export, "NEEDED", ())
    monkeypatch.setattr(onnx_export, "CHECKER", INSTALLED)
    monkeypatch.setattr(onnx_export, "_trace", lambda module, size: program)
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=lambda path, providers: running))


@pytest.mark.parametrize(
    ("difference", "checker", "kept"),
    [(0.5, INSTALLED, False), (float("nan"), INSTALLED, False), (1e-5, INSTALLED, True), (0.5, "no_such_module", True)],
)
def test_a_file_that_disagrees_is_not_kept(tmp_path, monkeypatch, difference, checker, kept):
    network = tiny_segmenter()
    pretend(monkeypatch, FromPixels(network), difference)
    monkeypatch.setattr(onnx_export, "CHECKER", checker)
    with contextlib.nullcontext() if kept else pytest.raises(RuntimeError, match="differ"):
        written = export_onnx(network, NAMES, "tiny", tmp_path / "out/a.onnx")
        assert ("not compared" if checker != INSTALLED else "logits within 1.0e-05 of") in written
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.onnx"] * kept


def test_a_file_for_all_sizes_that_disagrees_becomes_one_for_one_size(tmp_path, monkeypatch):
    network, compare = tiny_segmenter(), onnx_export._compare

    def disagree(module, path, sizes):
        if len(sizes) > 1:
            raise RuntimeError("differ")
        return compare(module, path, sizes)

    pretend(monkeypatch, FromPixels(network), 0.0)
    monkeypatch.setattr(onnx_export, "_compare", disagree)
    written = export_onnx(network, NAMES, "tiny", tmp_path / "out/a.onnx", else_size=(64, 96))
    assert "images of 64 x 96 pixels only" in written
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.onnx"]


class Unstable(nn.Module):
    """Logits that rounding moves by more than a hundredth."""

    def forward(self, image):
        return (image.mean(dim=1, keepdim=True) + 1e6) - 1e6


def test_a_file_may_differ_by_what_rounding_changes_in_the_network_itself(tmp_path, monkeypatch):
    for difference, kept in ((0.05, True), (1.0, False)):
        pretend(monkeypatch, Unstable(), difference)
        with contextlib.nullcontext() if kept else pytest.raises(RuntimeError, match="differ"):
            onnx_export._compare(Unstable(), tmp_path / "a.onnx", ((40, 56),))


@pytest.mark.slow
def test_a_checkpoint_on_real_images(shared_data, tmp_path):
    needs("onnx", "onnxscript", "onnxruntime")
    cfg = load_config(None, overrides=["model.backbone=efficientnet_lite0", "segment.stage=-2"])
    torch.manual_seed(0)
    network = build_segmenter("efficientnet_lite0", 4, "imagenet", -2)
    torch.nn.init.normal_(network.head[-1].weight)
    save_network(tmp_path / "net.pth", "segmenter", network, NAMES, cfg, {})
    call("exports.onnx", tmp_path / "net.pth", tmp_path / "net.onnx").well()
    running = session(tmp_path / "net.onnx")
    for path in sorted((shared_data / "voc12/JPEGImages").glob("*.jpg"))[:5]:
        pixels = np.array(read_image(path), np.float32).transpose(2, 0, 1)[None]
        (logits,) = running.run(None, {"image": pixels})
        with torch.no_grad():
            expected = FromPixels(network)(torch.from_numpy(pixels)).numpy()
        assert np.abs(logits - expected).max() < 1e-3
