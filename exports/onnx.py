"""A segmentation network as one ONNX file, for programs without torch.

    python -m exports.onnx checkpoints/best_model.pth segmenter.onnx

Input `image` (batch, 3, height, width) float32: RGB of 0..255, any size from 32 by 32 on; the graph normalises it.
Output `logits` (batch, classes + 1, height, width) float32: channel 0 is background, channel c the c-th class, so that
the largest one is the mask value. One scale, no mirror image, no refinement: evaluate.py's `segment.scales=[1.0]`. The
file's metadata hold all this: `classes` (JSON, background first), `input`, `output`, `mean`, `std`, `backbone`.
"""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import argparse
import importlib.util
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from models.segmenter import Segmenter
from stages.networks import load_network
from utils.errors import UserError, run_script
from utils.files import atomic_path

NEEDED = ("onnx", "onnxscript")
CHECKER = "onnxruntime"
SMALLEST, LARGEST = 32, 8192  # sides that the graph is made for
TRACED, CHECKED = (192, 224), ((96, 160), (225, 171))  # (height, width); the check takes other sizes than the tracing
MOST_DIFFERENCE = 1e-3  # of logits


class FromPixels(nn.Module):
    """A segmentation network with its normalisation before it and the image's size after it."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: Segmenter):
        super().__init__()
        self.network = network
        for name in ("mean", "std"):
            values = torch.tensor(getattr(network.backbone, name)).view(1, 3, 1, 1)
            self.register_buffer(name, 255 * values, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float RGB of 0..255 -> logits (B, num_classes, H, W)."""
        logits = self.network((image - self.mean) / self.std)
        return interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=False)


def export_onnx(network: Segmenter, class_names: tuple[str, ...], backbone: str, path: Path) -> float | None:
    """Write the file, and compare it with the network on images of other sizes where onnxruntime is installed.

    Args:
        network: on the CPU, in evaluation mode.
        class_names: foreground classes.
        backbone: its name, for the metadata.

    Returns:
        The largest difference of a logit, or None if it was not compared.

    Raises:
        UserError: the packages that it needs are not installed.
        RuntimeError: the file gives other logits than the network.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX export needs {' and '.join(missing)}: pip install -r requirements-extras.txt")
    module = FromPixels(network).eval()
    program = _trace(module)
    about = {
        "format": "ibbnet segmentation network",
        "classes": json.dumps(["background", *class_names], ensure_ascii=False),
        "backbone": backbone,
        "input": f"image (batch, 3, height, width) float32, RGB 0..255, sides from {SMALLEST}; normalised inside",
        "output": "logits (batch, classes, height, width) float32; the largest is the mask value",
    }
    program.model.metadata_props.update(
        about | {name: json.dumps(list(getattr(network.backbone, name))) for name in ("mean", "std")}
    )
    with atomic_path(path) as temporary:
        program.save(temporary, external_data=False)
        difference = _compare(module, temporary)
        if difference is not None and not difference <= MOST_DIFFERENCE:
            raise RuntimeError(
                f"onnxruntime's logits differ from the network's by {difference:g}, more than {MOST_DIFFERENCE:g}"
            )
    return difference


def _trace(module: nn.Module) -> Any:
    """The module as an ONNX program whose batch, height and width are free."""
    side = {name: torch.export.Dim(name, min=SMALLEST, max=LARGEST) for name in ("height", "width")}
    shapes = {"image": {0: torch.export.Dim("batch"), 2: side["height"], 3: side["width"]}}
    example = torch.zeros(2, 3, *TRACED)  # a batch of one would be taken for a constant
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own internals
        names: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"]}
        return torch.onnx.export(module, (example,), dynamic_shapes=shapes, dynamo=True, verbose=False, **names)


def _compare(module: nn.Module, path: Path) -> float | None:
    """The largest difference of a logit between module and file on random images; None without onnxruntime."""
    if importlib.util.find_spec(CHECKER) is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    random = torch.Generator().manual_seed(0)
    largest = 0.0
    for height, width in CHECKED:
        image = interpolate(255 * torch.rand(1, 3, 12, 12, generator=random), (height, width), mode="bilinear")
        with torch.no_grad():
            expected = module(image).numpy()
        (found,) = session.run(["logits"], {"image": image.numpy()})
        largest = max(largest, float(np.abs(found - expected).max()))
    return largest


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m exports.onnx", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a segmentation network of train.py")
    parser.add_argument("output", type=Path, metavar="OUT.onnx", help="the file to write")
    return parser.parse_args()


def main() -> None:
    """The command."""
    args = parse_args()
    network, checkpoint, _ = load_network(args.checkpoint)
    if not isinstance(network, Segmenter):
        raise UserError(
            f"{args.checkpoint} holds a {checkpoint.kind}; expected a segmentation network, such as segmenter.pth of "
            "the same run: a classifier's masks need gradients, which ONNX has not"
        )
    difference = export_onnx(network, checkpoint.class_names, checkpoint.backbone, args.output)
    checked = "not compared: onnxruntime is not installed"
    if difference is not None:
        checked = f"logits within {difference:.1e} of the network's"
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB, {checked}")


if __name__ == "__main__":
    sys.exit(run_script(main))
