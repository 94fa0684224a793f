"""The seeds stage against the bare network: python -m benchmarks.seeds

Ours: read and decode an image, CAM, GFM and PRM at the scales of preset voc12_compact, write the seed file. Bare: the
same forward and backward passes on tensors of the same shapes, nothing else. Target: at most 1.3 times.
"""

from pathlib import Path

import torch

from benchmarks.common import CONFIG, compare, generated_index, no_options, scratch_folder
from data.artifacts import write_seed
from models.classifier import build_classifier
from stages.config import Config, load_config
from stages.reading import build_method, prepare, to_seed, whole_images
from utils.compute import choose_compute

IMAGES, PAIRS = 12, 3


def main() -> None:
    no_options(__doc__)
    for settings in (["ibb.iterations=0", "prm.enabled=false"], ["ibb.iterations=0"], []):
        cfg = load_config(CONFIG, "voc12_compact", settings)
        ours, bare, ratio = time_seeds(cfg)
        print(
            f"{' '.join(settings) or 'full method':36} {ours:.2f} s, bare passes {bare:.2f} s for {IMAGES} "
            f"images: ratio {ratio:.2f}"
        )


def time_seeds(cfg: Config) -> tuple[float, float, float]:
    """Median seconds of ours and of the bare passes, and the ratio."""
    with scratch_folder() as name:
        folder = Path(name)
        index = generated_index(folder, IMAGES)
        compute = choose_compute(cfg)
        classifier = compute.network(build_classifier("efficientnet_lite0", 20, "imagenet")).requires_grad_(False)
        method = build_method(cfg)
        strides, least = classifier.backbone.strides[:-1], cfg.step("gfm").min_stride
        stages = [n for n, stride in enumerate(strides) if stride >= least]
        images = [
            prepare(item["image"], classifier, compute, cfg.seeds) for item in whole_images(index, range(IMAGES), 0, "")
        ]
        scales = [*cfg.step("cam").scales, *cfg.step("ibb").scales * cfg.step("ibb").iterations]
        shapes = [[max(32, round(side * scale)) for side in images[0].shape[-2:]] for scale in scales]
        views = 2 if cfg.step("cam").flip else 1
        batches = [compute.image(torch.randn(views, 3, *shape)) for shape in shapes]

        def ours() -> None:
            for item in whole_images(index, range(IMAGES), cfg.workers, ""):
                classes = item["labels"].nonzero().flatten().tolist()
                maps = method(classifier, prepare(item["image"], classifier, compute, cfg.seeds), classes)
                write_seed(folder / f"{item['name']}.npz", to_seed(maps, classes, item["image"].shape[-2:]))

        def bare() -> None:
            for record in index.records:
                for batch in batches:
                    features = classifier.backbone.stages(batch, min(stages))
                    logits = classifier.logits(features)
                    for label in record.labels:
                        torch.autograd.grad(
                            logits[:, label].sum(),
                            [features[n] for n in stages],
                            retain_graph=label != record.labels[-1],
                        )

        return compare(ours, bare, PAIRS)


if __name__ == "__main__":
    main()
