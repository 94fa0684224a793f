"""What backbones take: python -m benchmarks.backbones [NAME ...]

Parameters, strides, and, on one CPU thread, seconds of the processor and memory for the maps (CAM + GFM + PRM, two
classes, one size, no mirror image) of one image of 320 x 320 pixels, and for one training step of a classifier on one.
Random weights. Each network has a process of its own, so that memory is its own; the memory of torch alone is taken
off. Prints what is measured in the table of docs/backbones.md.
"""

import resource
import sys
from multiprocessing import get_context

import torch

from benchmarks.common import processor_seconds
from models.backbone import BACKBONES, build_backbone
from models.classifier import Classifier
from models.method import Method
from models.steps import ClassActivationMap, GradFusion, PartialReactivation
from utils.errors import run_script, script_parser

SIDE, CLASSES, REPEATS = 320, 20, 2
TIMM = (
    "resnet18 mobilenetv3_large_100 convnext_tiny tf_efficientnetv2_s hrnet_w18 swin_tiny_patch4_window7_224 "
    "maxvit_tiny_tf_224 vit_small_patch16_224 deit3_small_patch16_224 vit_small_patch14_dinov2 "
    "vit_small_patch16_dinov3 eva02_small_patch14_224 vit_base_patch16_clip_224"
)
NAMES = (*BACKBONES, *(f"timm/{name}" for name in TIMM.split()))


def memory() -> float:
    """The most that the process has taken so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str) -> str:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    before = memory()
    network = Classifier(build_backbone(name, "none"), CLASSES).eval().requires_grad_(False)
    image = torch.randn(3, SIDE, SIDE)
    method = Method((ClassActivationMap(scales=(1.0,), flip=False), GradFusion(), PartialReactivation()))
    reading = processor_seconds(lambda: method(network, image, [0, 1]), REPEATS)
    reading_memory = memory() - before
    network.requires_grad_(True).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        optimiser.zero_grad()
        network(image[None]).square().mean().backward()
        optimiser.step()

    training = processor_seconds(step, REPEATS)
    parameters = sum(parameter.numel() for parameter in network.backbone.parameters()) / 1e6
    strides = ", ".join(map(str, network.backbone.strides))
    return (
        f"| `{name}` | {parameters:.1f} | {strides} | {reading:.2f}, {reading_memory:.0f} "
        f"| {training:.2f}, {memory() - before:.0f} |"
    )


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="backbones (default: those of the table)")
    args = parser.parse_args()
    print("| name | million parameters | strides | maps: s, MB | training step: s, MB |\n|---|---|---|---|---|")
    with get_context("spawn").Pool(1, maxtasksperchild=1) as processes:
        for name in args.names or NAMES:
            print(processes.apply(measure, (name,)), flush=True)


if __name__ == "__main__":
    sys.exit(run_script(main))
