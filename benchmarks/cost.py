"""What the method costs beside plain CAM: python -m benchmarks.cost

Seconds an image of the maps with preset voc12_compact, the image lying in memory, by turns with plain CAM of the
same scales and flip. "Trained" is what stage `fuse` adds. Targets: all modules at most 6 times, a fast setting at most
2.5 times.
"""

from functools import partial
from pathlib import Path

import torch

from benchmarks.common import compare, generated_index, no_options, scratch_folder
from models.classifier import build_classifier
from models.context import ContextDiscriminant, context_stage
from models.reading import map_size
from models.segmenter import build_segmenter
from stages.config import Config, load_config
from stages.files import trains_on_blurred
from stages.ibb import class_shares
from stages.reading import build_method, prepare, whole_images
from stages.walk import walk_over_features
from utils.compute import choose_compute

IMAGES, PAIRS = 8, 3
CAM = ("gfm.enabled=false", "prm.enabled=false", "ibb.enabled=false", "context.enabled=false")
SETTINGS = {
    "CAM + context": CAM[:3],
    "GFM + PRM": CAM[2:],
    "GFM + PRM + context": CAM[2:3],
    "GFM + PRM + context, trained": ("ibb.iterations=0",),
    "GFM + PRM + IBB + context, trained (all)": (),
    "GFM + PRM + context, trained, at one size (fast)": ("ibb.iterations=0", "cam.scales=[1.0]"),
}


def main() -> None:
    no_options(__doc__)
    with scratch_folder() as folder:
        index = generated_index(Path(folder), IMAGES)
        config = Path(__file__).parent.parent / "config.yaml"
        cfg = load_config(config, "voc12_compact", CAM)
        compute = choose_compute(cfg)
        classifier = build_classifier("efficientnet_lite0", 20, "imagenet")
        classifier.context = ContextDiscriminant(20, classifier.backbone.channels[context_stage(classifier.backbone)])
        compute.network(classifier).requires_grad_(False)
        read = [
            (
                prepare(item["image"], classifier, compute, cfg.seeds.max_side),
                item["labels"].nonzero().flatten().tolist(),
            )
            for item in whole_images(index, range(IMAGES), 0, "")
        ]

        segmenter = build_segmenter(
            "efficientnet_lite0", 21, "imagenet", cfg.segmenter.stage, cfg.segmenter.decoder_strides
        )
        compute.network(segmenter).requires_grad_(False)

        def seeds(own: Config, walk: bool) -> None:
            method = build_method(own)
            for image, classes in read:
                maps = method(classifier, image, classes)
                if trains_on_blurred(own):
                    shares = class_shares(own, segmenter, image, classes, map_size(*image.shape[-2:]))
                    maps = torch.lerp(maps, shares, own.ibb.weight)
                if walk:
                    walk_over_features(classifier, image, maps, own.affinity, own.cam.scales, own.cam.flip)

        for title, settings in SETTINGS.items():
            own = load_config(config, "voc12_compact", settings)
            for walk in (False, True):
                ours, cam, ratio = compare(partial(seeds, own, walk), partial(seeds, cfg, False), PAIRS)
                name = title + " + walk over features" * walk
                print(
                    f"{name:56}{ours / IMAGES:6.2f} s an image, CAM {cam / IMAGES:.2f} s: {ratio:.1f} times",
                    flush=True,
                )


if __name__ == "__main__":
    main()
