"""The field's CAM methods beside ours, on a finished run's classifier: python -m benchmarks.peers RUN

    python -m benchmarks.peers runs/voc12_compact                           # on the run's validation list
    python -m benchmarks.peers runs/voc12_compact --every 39 --score-cam    # on three of its 117 images

Same classifier, given labels, images at the size of stage `seeds`, mirror image, grid and sweep of thresholds; one
size (`--set cam.scales=[1.0,0.5]` for more). No CRF or PAR. The others come from two public libraries as they are,
`grad-cam` and `torchcam`. Each row is at its own best threshold, with the seconds of the processor, of all threads
together, that its maps take an image. Score-CAM runs the network once a channel, so it is for a few images only. Other
methods change the activations of one stage by its gradient, so they see its features whatever they are; where the last
stage is a token map of a transformer, the class token does not take part.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.ablation import Item, Readers, print_table, read_anew, switched, title_of
from benchmarks.common import list_parser
from models.classifier import Classifier
from models.reading import map_size, normalise_maps, to_grid, views_of
from stages.config import Config, load_config
from stages.dataset_steps import FullMethod
from stages.reading import prepare
from utils.errors import UserError, run_script
from utils.run import RUN_SETTINGS

LIBRARIES = {"pytorch_grad_cam": "grad-cam", "torchcam": "torchcam"}
OF_GRAD_CAM = ("GradCAM", "GradCAMPlusPlus", "XGradCAM", "HiResCAM", "LayerCAM", "EigenCAM")
MOST_CHANNELS = 512  # of the stage that Score-CAM masks images by
MaskOf = Callable[[Tensor, int], Tensor]  # images (B, 3, H, W) and a class -> maps (B, h, w)


class Staged(nn.Module):
    """A classifier whose stages pass through modules that a library can hook.

    The graph begins at the first of these stages, as it does in our own reading.
    """

    def __init__(self, classifier: Classifier, first: int):
        super().__init__()
        self.classifier, self.first = classifier, first
        self.stages = nn.ModuleList(nn.Identity() for _ in classifier.backbone.strides)

    def forward(self, x: Tensor) -> Tensor:
        grad_from = self.first if torch.is_grad_enabled() else None
        found = self.classifier.backbone.stages(x, grad_from)
        maps = [stage(map_) for stage, map_ in zip(self.stages, found, strict=True)]
        return self.classifier.logits(maps)


def of_grad_cam(name: str, classifier: Classifier, stages: list[int]) -> MaskOf:
    """A method of `grad-cam`; of several stages it takes the mean."""
    library = importlib.import_module("pytorch_grad_cam")
    target = importlib.import_module("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    staged = Staged(classifier, min(stages))
    method = getattr(library, name)(model=staged, target_layers=[staged.stages[stage] for stage in stages])

    def maps(images: Tensor, class_index: int) -> Tensor:
        return torch.from_numpy(method(images, [target(class_index)] * len(images)))

    return maps


def of_torchcam(name: str, classifier: Classifier, stages: list[int]) -> MaskOf:
    """A method of `torchcam`; several stages are fused as it fuses them."""
    methods = importlib.import_module("torchcam.methods")
    staged = Staged(classifier, min(stages))
    method = getattr(methods, name)(staged, [staged.stages[stage] for stage in stages])

    def maps(images: Tensor, class_index: int) -> Tensor:
        logits = staged(images)
        found = method([class_index] * len(images), logits)
        return (method.fuse_cams(found) if len(found) > 1 else found[0]).detach()

    return maps


def peers(classifier: Classifier, cfg: Config, score_cam: bool) -> dict[str, MaskOf]:
    strides, channels = classifier.backbone.strides, classifier.backbone.channels
    last = len(strides) - 1
    fused = [*cfg.step("gfm").gradient_stages(strides), last]  # all that GFM joins
    found = {f"{name} (grad-cam)": of_grad_cam(name, classifier, [last]) for name in OF_GRAD_CAM}
    found["LayerCAM, stages of GFM (grad-cam)"] = of_grad_cam("LayerCAM", classifier, fused)
    found["GradCAMpp (torchcam)"] = of_torchcam("GradCAMpp", classifier, [last])
    found["LayerCAM, stages of GFM (torchcam)"] = of_torchcam("LayerCAM", classifier, fused)
    if score_cam:  # on the deepest stage that is not too wide for it
        stage = max((n for n, width in enumerate(channels) if width <= MOST_CHANNELS), default=last)
        found[f"Score-CAM, stage {stage + 1} of {last + 1} (torchcam)"] = of_torchcam("ScoreCAM", classifier, [stage])
    return found


def maps_of(method: MaskOf, image: Tensor, classes: list[int], cfg: Config) -> Tensor:
    """Maps (K, h, w) of an image (3, H, W) on our grid: summed over sizes and mirror image, then n(.)."""
    cam = cfg.step("cam")
    size = map_size(*image.shape[-2:])
    total = image.new_zeros((len(classes), *size))
    for scale in cam.scales:
        images = views_of(image[None], scale, cam.flip)
        for k, class_index in enumerate(classes):
            found = method(images, class_index).to(image)
            total[k] += to_grid(torch.nan_to_num(found)[:, None].clamp_min(0), size)[0]
    return normalise_maps(total)


def main() -> None:
    parser = list_parser(__doc__)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a run folder with its classifier")
    add("--score-cam", action="store_true", help="with Score-CAM, which takes a minute or two an image")
    args = parser.parse_args()
    missing = [package for module, package in LIBRARIES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f"this benchmark needs {' and '.join(missing)}: pip install -r requirements-peers.txt")
    cfg = load_config(args.run / RUN_SETTINGS, overrides=["cam.scales=[1.0]", *args.set])
    found: dict[str, MaskOf] = {}

    def readers_of(run: FullMethod, item: Item) -> Readers:
        found.update(found or peers(run.classifier, cfg, args.score_cam))  # opened with the first image
        image = prepare(item["image"], run.classifier, run.compute, run.sides)
        classes, names = item["labels"].nonzero().flatten().tolist(), switched(run)
        others = {title: partial(maps_of, method, image, classes, cfg) for title, method in found.items()}
        ours = [(), *((name,) for name in names), names]
        return others | {f"ours: {title_of(run, on)}": partial(read_anew, run, item, on) for on in ours}

    print_table(args, cfg, readers_of, seconds=True)


if __name__ == "__main__":
    sys.exit(run_script(main))
