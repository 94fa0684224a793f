"""What backbones take: python -m benchmarks.backbones [NAME ...]

Parameters, strides, and, on one CPU thread, seconds of the processor and memory for the maps (CAM + GFM + PRM, two
classes, one size, no mirror image) of one image of 320 x 320 pixels, and for one training step of a classifier on one.
Random weights. Each network has a process of its own, so that memory is its own; the memory of torch alone is taken
off. Prints the table of docs/backbones.md.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from models.backbone import BACKBONES, build_backbone
from models.classifier import Classifier
from models.method import Method
from models.steps import ClassActivationMap, GradFusion, PartialReactivation
from utils.errors import UserError, run_script

SIDE, CLASSES, REPEATS = 320, 20, 2
NAMES = (
    *BACKBONES,
    *(
        f"timm/{name}"
        for name in (
            "resnet18",
            "mobilenetv3_large_100",
            "convnext_tiny",
            "tf_efficientnetv2_s",
            "hrnet_w18",
            "swin_tiny_patch4_window7_224",
            "maxvit_tiny_tf_224",
            "vit_small_patch16_224",
            "deit3_small_patch16_224",
            "vit_small_patch14_dinov2",
            "vit_small_patch16_dinov3",
            "eva02_small_patch14_224",
            "vit_base_patch16_clip_224",
        )
    ),
)


def memory() -> float:
    """The most that the process has taken so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds(work: Callable[[], object]) -> float:
    """The least processor time of a few runs, after one to warm up."""
    work()
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def measure(name: str) -> dict[str, object]:
    """All figures of a backbone."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    before = memory()
    network = Classifier(build_backbone(name, "none"), CLASSES).eval().requires_grad_(False)
    image = torch.randn(3, SIDE, SIDE)
    method = Method((ClassActivationMap(scales=(1.0,), flip=False), GradFusion(), PartialReactivation()))
    reading = seconds(lambda: method(network, image, [0, 1]))
    reading_memory = memory() - before
    network.requires_grad_(True).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        optimiser.zero_grad()
        network(image[None]).square().mean().backward()
        optimiser.step()

    training = seconds(step)
    return {
        "parameters": sum(parameter.numel() for parameter in network.backbone.parameters()) / 1e6,
        "strides": list(network.backbone.strides),
        "reading": reading,
        "reading_memory": reading_memory,
        "training": training,
        "training_memory": memory() - before,
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="backbones (default: those of the table)")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.names[0])))
        return
    print("| name | million parameters | strides | maps: s, MB | training step: s, MB |\n|---|---|---|---|---|")
    for name in args.names or NAMES:
        command = [sys.executable, "-m", "benchmarks.backbones", "--one", name]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise UserError(
                ended.stderr.strip().removeprefix("error: ") or f"{name}: the process ended with {ended.returncode}"
            )
        found = json.loads(ended.stdout.splitlines()[-1])
        strides = ", ".join(map(str, found["strides"]))
        print(
            f"| `{name}` | {found['parameters']:.1f} | {strides} "
            f"| {found['reading']:.2f}, {found['reading_memory']:.0f} "
            f"| {found['training']:.2f}, {found['training_memory']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(run_script(main))
