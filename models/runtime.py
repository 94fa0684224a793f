"""What computes a segmentation network's logits: PyTorch, or on CPUs a program that is made for them.

OpenVINO and ONNX Runtime are extras and are found by import. A runtime is compared with the network before it is used;
where it differs, or cannot be had, PyTorch computes, and the log says so.
"""

import contextlib
import copy
import importlib.util
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from timm.layers import Conv2dSame
from torch import Tensor
from torch.nn.functional import conv2d, pad

from models.segmenter import Forward, Segmenter
from utils.compute import Compute, lanes
from utils.errors import UserError

logger = logging.getLogger(__name__)

TRACED, CHECKED = (96, 128), (65, 291)  # height and width that the graph is made from, and others that it is tried with
MOST_DIFFERENCE = {"off": 1e-3, "bf16": 0.1}  # of a logit, as a part of the largest one
OPSET = 17  # of ONNX: the newest one of torch's exporter by tracing
NAMES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}  # module -> what people call it; the faster one first


class Runtime(NamedTuple):
    """What computes logits."""

    name: str  # of the program and its precision
    forward: Forward  # may be called by several threads


def open_runtime(network: Segmenter, compute: Compute, wanted: str = "auto") -> Runtime:
    """The runtime of a network, which is in evaluation mode, on the device of `compute`.

    `wanted` is auto, pytorch, openvino or onnxruntime. `auto` is PyTorch unless the precision was left to the machine.
    """
    own = Runtime(f"PyTorch, {_precision(compute.precision)}", network)
    module = _choose(compute, wanted)
    if module is None:
        return own
    precision = compute.precision if module == "openvino" else "off"
    try:
        forward = _OPENERS[module](_onnx(network), precision)
        _compare(network, forward, MOST_DIFFERENCE[precision])
    except Exception as error:
        # Of a dozen kinds, by the exporter and by two programs; PyTorch computes whatever they cannot.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        logger.warning("%s cannot compute this network (%s); %s computes it", NAMES[module], reason, own.name)
        return own
    return Runtime(f"{NAMES[module]}, {_precision(precision)}", forward)


def _choose(compute: Compute, wanted: str) -> str | None:
    installed = [name for name in NAMES if importlib.util.find_spec(name) is not None]
    if wanted in NAMES:
        if compute.device.type != "cpu":
            raise UserError(f"infer.runtime {wanted} is for CPUs, and not for {compute.device}; set infer.runtime=auto")
        if wanted not in installed:
            what = f"infer.runtime is {wanted}, which is not installed"
            raise UserError(f"{what}: pip install -r requirements-extras.txt, or set infer.runtime=auto")
        return wanted
    if wanted != "auto" or not compute.is_fastest or compute.device.type != "cpu":
        return None
    # ONNX Runtime computes in float32 only, and PyTorch in bf16 is faster than that.
    return next((name for name in installed if name == "openvino" or compute.precision == "off"), None)


def _precision(name: str) -> str:
    return "float32" if name == "off" else name


def _onnx(network: Segmenter) -> bytes:
    network = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    for module in network.modules():
        if isinstance(module, Conv2dSame):
            module.__class__ = _WholePadding
    free = {"image": {0: "batch", 2: "height", 3: "width"}}
    options: dict[str, Any] = {"input_names": [*free], "dynamic_axes": free, "opset_version": OPSET, "dynamo": False}
    file: Any = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings(), _silent():
        warnings.simplefilter("ignore")  # torch's, of sizes that become constants; `_compare` tries others
        torch.onnx.export(network, (torch.zeros(2, 3, *TRACED),), file, **options)
    return file.getvalue()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without standard output: where torch's exporter fails, it prints the whole graph from C++."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


class _WholePadding(Conv2dSame):
    """timm's convolution of ceil(side / stride) cells, its padding in whole numbers: a width of 257 in bf16 is 256."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[Any] = []  # sides are numbers, or tensors while a graph is traced
        sizes = zip(x.shape[-2:], self.kernel_size, self.stride, self.dilation, strict=True)
        for side, kernel, stride, dilation in sizes:
            missing = dilation * (kernel - 1)
            if stride > 1:
                missing = ((side + stride - 1) // stride - 1) * stride + missing + 1 - side
            pads = [missing // 2, missing - missing // 2, *pads]
        return conv2d(pad(x, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _compare(network: Segmenter, forward: Forward, most: float) -> None:
    """Refuse a runtime whose logits of an image of another size are not the network's."""
    image = torch.rand(1, 3, *CHECKED, generator=torch.Generator().manual_seed(0)) * 4 - 2
    with torch.inference_mode():
        expected = network(image.contiguous(memory_format=torch.channels_last)).float()
        found = forward(image)
    if found.shape != expected.shape:
        raise ValueError(f"logits of {tuple(found.shape)} where the network gives {tuple(expected.shape)}")
    difference = float((found - expected).abs().max() / expected.abs().max().clamp_min(1))
    if not difference <= most:
        raise ValueError(f"logits differ from the network's by a part of {difference:.3g}, more than {most:g}")


def _open_openvino(graph: bytes, precision: str) -> Forward:
    # Imported as it is, OpenVINO reports its use to a server; without this package it has a silent stand-in.
    if "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    core = openvino.Core()
    streams, threads = lanes()
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams * threads,
        "ENABLE_CPU_PINNING": False,
    }
    compiled, own = core.compile_model(core.read_model(graph, b""), "CPU", options), threading.local()

    def forward(images: Tensor) -> Tensor:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        return torch.from_numpy(own.request.infer([images.contiguous().numpy()], share_inputs=True)[0])

    return forward


def _open_onnxruntime(graph: bytes, precision: str) -> Forward:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = lanes()[1]
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    (name,) = (value.name for value in session.get_inputs())
    return lambda images: torch.from_numpy(session.run(None, {name: images.contiguous().numpy()})[0])


_OPENERS = {"openvino": _open_openvino, "onnxruntime": _open_onnxruntime}
