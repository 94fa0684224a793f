"""Whatever computes a segmentation network gives its logits; where nothing else can, PyTorch does, and says so."""

import importlib.util
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from timm.layers import Conv2dSame
from torch import Tensor

import models.runtime
import utils.compute
from models.runtime import open_runtime
from models.segmenter import Segmenter
from tests.models.tiny import TinyBackbone, make_image
from utils.compute import Compute, fastest_precision
from utils.errors import UserError

CPU = torch.device("cpu")
RUNTIMES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}
installed = [name for name in RUNTIMES if importlib.util.find_spec(name)]
SIZES = [(64, 96), (65, 291)]


@pytest.fixture(autouse=True)
def runtimes(monkeypatch):
    monkeypatch.setattr(models.runtime, "NAMES", RUNTIMES)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    """A tiny network with fixed weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Segmenter(TinyBackbone(), 3).eval().requires_grad_(False)


def images(size: tuple[int, int]) -> Tensor:
    return torch.stack([make_image(*size), make_image(*size, seed=1)])


@pytest.mark.parametrize("name", installed)
def test_a_runtime_gives_the_logits_of_the_network_at_any_size_to_several_threads(segmenter, name):
    runtime = open_runtime(segmenter, Compute(CPU), name)
    assert runtime.name == f"{RUNTIMES[name]}, float32"
    inputs = [images(size) + number for number in range(2) for size in SIZES]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(runtime.forward, inputs * 2))
    for logits, x in zip(found, inputs * 2, strict=True):
        torch.testing.assert_close(logits, segmenter(x), rtol=1e-4, atol=1e-4)


@pytest.mark.skipif("openvino" not in installed, reason="needs openvino")
def test_padding_of_an_odd_side_is_right_in_bf16():
    """A side of 257 is 256 in bf16, so that padding must be computed in whole numbers."""
    network = Segmenter(TinyBackbone(), 2, stage=0).eval().requires_grad_(False)
    for block in network.backbone.blocks:
        block[0].__class__, block[0].padding = Conv2dSame, (0, 0)  # as most of timm's compact networks have it
    runtime = open_runtime(network, Compute(CPU, "bf16"), "openvino")
    assert runtime.name == "OpenVINO, bf16"
    assert runtime.forward(torch.zeros(1, 3, 257, 33)).shape == network(torch.zeros(1, 3, 257, 33)).shape


def test_pytorch_computes_where_a_runtime_is_missing_slower_or_not_for_this_device_or_precision(segmenter, monkeypatch):
    with pytest.raises(UserError, match=r"infer.runtime openvino is for CPUs, and not for cuda"):
        open_runtime(segmenter, Compute(torch.device("cuda")), "openvino")
    assert open_runtime(segmenter, Compute(CPU)).name == "PyTorch, float32"
    assert open_runtime(segmenter, Compute(CPU, "bf16")).name == "PyTorch, bf16"
    find = importlib.util.find_spec
    monkeypatch.setattr(models.runtime.importlib.util, "find_spec", lambda name: name == "onnxruntime" or find("no"))
    monkeypatch.setitem(models.runtime._OPENERS, "onnxruntime", lambda graph, precision: segmenter)
    # ONNX Runtime computes in float32 only, and PyTorch in bf16 is faster.
    names = [open_runtime(segmenter, Compute(CPU, precision, is_fastest=True)).name for precision in ("off", "bf16")]
    assert names == ["ONNX Runtime, float32", "PyTorch, bf16"]
    monkeypatch.setattr(models.runtime.importlib.util, "find_spec", lambda name: None)
    assert open_runtime(segmenter, Compute(CPU, is_fastest=True)) == ("PyTorch, float32", segmenter)
    with pytest.raises(UserError, match=r"infer.runtime is openvino, which is not installed: pip install"):
        open_runtime(segmenter, Compute(CPU), "openvino")


class _Dependent(Segmenter):
    """Adds a number that a traced graph takes for a constant."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + float(x.shape[-1])


@pytest.mark.parametrize("name", installed)
def test_a_runtime_that_gives_other_logits_is_not_used(name, caplog):
    network = _Dependent(TinyBackbone(), 3).eval().requires_grad_(False)
    with caplog.at_level(logging.WARNING):
        runtime = open_runtime(network, Compute(CPU), name)
    assert runtime.name == "PyTorch, float32"
    assert f"{RUNTIMES[name]} cannot compute this network (logits differ" in caplog.text
    assert torch.equal(runtime.forward(images(SIZES[0])), network(images(SIZES[0])))


def test_the_fastest_precision_is_what_the_chip_computes_in(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(utils.compute, "CPU_INFO", tmp_path / "cpuinfo")
    assert fastest_precision(CPU) == "off"
    for flags in ("fpu avx2 avx512f avx512_bf16", "amx_bf16 amx_tile", "fpu avx2 avx512f"):
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
        assert fastest_precision(CPU) == ("bf16" if "bf16" in flags else "off")


def test_what_the_exporter_prints_where_it_fails_is_not_shown(segmenter, capfd, monkeypatch):
    def export(*args, **options):
        os.write(1, b"a graph of a thousand lines")
        raise ValueError("cannot be exported")

    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(ValueError, match="cannot be exported"):
        models.runtime._onnx(segmenter)
    print("shown again")
    assert capfd.readouterr().out == "shown again\n"
