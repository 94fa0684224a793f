"""A segmentation network as one ONNX file, for programs without torch.

    python -m exports.onnx checkpoints/best_model.pth segmenter.onnx

Input `image` (batch, 3, height, width) float32: RGB of 0..255, any size from 32 by 32 on; it is normalised inside the
graph. Output `logits` (batch, classes + 1, height, width) float32: channel 0 is background, and the largest channel is
the mask value. One scale, no mirror image, no refinement: evaluate.py's `segment.scales=[1.0]`. The file's metadata say
so, too: `classes` (JSON, background first), `input`, `output`, `mean`, `std`, `backbone`.

Networks with windows, such as Swin and MaxViT, and some others, such as DINOv3, compute with the image's size in ways
that cannot be exported. Their files take images of one size only, that of training's crops, or `--size HEIGHT WIDTH`.
"""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import contextlib
import copy
import importlib.util
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from models.segmenter import Segmenter
from stages.config import config_from_dict
from stages.networks import load_network
from utils.errors import UserError, run_script, script_parser
from utils.files import atomic_path

NEEDED = ("onnx", "onnxscript")
CHECKER = "onnxruntime"
SMALLEST, LARGEST = 32, 8192  # sides that the graph is made for
TRACED, CHECKED = (192, 224), ((96, 160), (225, 171))  # heights and widths; checked on others than it was made from
MOST_DIFFERENCE = 1e-3  # of logits, as a part of the largest one
MOST_ROUNDING = 4  # times what rounding changes in the network itself; with random weights that can be much
# What torch raises where it cannot keep a size free; a RuntimeError also says that the file gives other logits.
UNEXPORTABLE = (RuntimeError, ValueError, TypeError, AssertionError, NotImplementedError, LookupError, AttributeError)
Size = tuple[int, int]  # height, width


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


def export_onnx(
    network: Segmenter,
    class_names: tuple[str, ...],
    backbone: str,
    path: Path,
    size: Size | None = None,
    else_size: Size = TRACED,
) -> str:
    """Write the file, and compare it with the network on images of other sizes where onnxruntime is installed.

    Returns words that say how near the logits are, and which only size the file takes.

    Args:
        network: on the CPU, in evaluation mode.
        class_names: foreground classes; with the name of the backbone they go into the metadata.
        size: for a file that takes images of this size only; None: of any size, or where that is impossible of
            `else_size`.

    A missing package is a `UserError`, a file that gives other logits than the network a `RuntimeError`.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX export needs {' and '.join(missing)}: pip install -r requirements-extras.txt")
    module = FromPixels(network).eval()
    # With windows the equations of the sizes take the exporter hours.
    if size is None and not network.backbone.has_windows:
        with contextlib.suppress(*UNEXPORTABLE):
            return _write(module, class_names, backbone, path, None)
    why = "" if size else f", because {backbone} cannot be exported for all sizes (--size: another one)"
    return _write(module, class_names, backbone, path, size or else_size) + why


def _write(module: FromPixels, class_names: tuple[str, ...], backbone: str, path: Path, size: Size | None) -> str:
    program = _trace(module, size)
    sides = "height, width" if size is None else f"{size[0]}, {size[1]}"
    program.model.metadata_props.update(
        format="ibbnet segmentation network",
        classes=json.dumps(["background", *class_names], ensure_ascii=False),
        backbone=backbone,
        input=f"image (batch, 3, {sides}) float32, RGB 0..255, sides from {SMALLEST}; normalised inside the graph",
        output=f"logits (batch, classes, {sides}) float32; the largest is the mask value",
        mean=json.dumps(list(module.network.backbone.mean)),
        std=json.dumps(list(module.network.backbone.std)),
    )
    with atomic_path(path) as temporary:
        program.save(temporary, external_data=False)
        difference = _compare(module, temporary, CHECKED if size is None else (size,))
    about = "not compared: onnxruntime is not installed"
    if difference is not None:
        about = f"logits within {difference:.1e} of the network's"
    return about if size is None else f"{about}; it takes images of {size[0]} x {size[1]} pixels only"


def _trace(module: FromPixels, size: Size | None) -> Any:
    """The module as an ONNX program whose batch is free, and height and width, too, where no size is given."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    free: dict[int, Any] = {0: torch.export.Dim("batch")}
    if size is None:
        free |= {axis: torch.export.Dim(f"side{axis}", min=SMALLEST, max=LARGEST) for axis in (2, 3)}
    example = torch.zeros(2, 3, *(size or TRACED))  # a batch of one would be taken for a constant
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of its own internals
        how: dict[str, Any] = {"strict": False, "prefer_deferred_runtime_asserts_over_guards": True}
        exported = torch.export.export(module, (example,), dynamic_shapes={"image": free}, **how)
        names: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"]}
        return torch.onnx.export(exported, (), **names, dynamo=True, verbose=False)


def _compare(module: nn.Module, path: Path, sizes: tuple[Size, ...]) -> float | None:
    """The largest difference of a logit between module and file on random images; None without onnxruntime."""
    if importlib.util.find_spec(CHECKER) is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    random, exact = torch.Generator().manual_seed(0), copy.deepcopy(module).double()
    largest = 0.0
    for height, width in sizes:
        image = interpolate(255 * torch.rand(1, 3, 12, 12, generator=random), (height, width), mode="bilinear")
        with torch.no_grad():
            expected, true = module(image).double(), exact(image.double())
        found = torch.from_numpy(session.run(["logits"], {"image": image.numpy()})[0]).double()
        difference, rounding = (float((values - true).abs().max()) for values in (found, expected))
        most = max(MOST_DIFFERENCE * max(1.0, float(true.abs().max())), MOST_ROUNDING * rounding)
        if not difference <= most:
            raise RuntimeError(f"onnxruntime's logits differ from the network's by {difference:g}, more than {most:g}")
        largest = max(largest, float((found - expected).abs().max()))
    return largest


def main() -> None:
    """The command."""
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="a segmentation network that train.py wrote")
    add("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="a file for images of this size only")
    add("output", type=Path, metavar="OUT.onnx", help="the file to write")
    args = parser.parse_args()
    network, checkpoint = load_network(args.checkpoint)
    cfg = config_from_dict(checkpoint.config, str(args.checkpoint))
    if not isinstance(network, Segmenter):
        expected = "expected a segmentation network, such as segmenter.pth of the same run"
        why = "a classifier's masks take gradients, which ONNX has not"
        raise UserError(f"{args.checkpoint} holds a {checkpoint.kind}; {expected}: {why}")
    if args.size and not all(SMALLEST <= side <= LARGEST for side in args.size):
        raise UserError(f"--size {args.size[0]} {args.size[1]}: expected sides from {SMALLEST} to {LARGEST}")
    size = (args.size[0], args.size[1]) if args.size else None
    crop = (cfg.segmenter.crop_size, cfg.segmenter.crop_size)
    about = export_onnx(network, checkpoint.class_names, checkpoint.backbone, args.output, size, crop)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB, {about}")


if __name__ == "__main__":
    sys.exit(run_script(main))
