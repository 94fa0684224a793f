"""What the method costs beside plain CAM: python -m benchmarks.cost

Seconds an image of the maps with preset voc12_compact, the image lying in memory, by turns with plain CAM of the
same scales and flip. "Trained" is what stage `correct` adds. Targets: all steps at most 6 times, a fast setting at most
2.5 times.
"""

from functools import partial
from pathlib import Path

from benchmarks.common import CONFIG, compare, generated_index, no_options, scratch_folder
from models.classifier import build_classifier
from models.context import ContextDiscriminant, context_stage
from models.segmenter import build_segmenter
from stages.config import load_config
from stages.dataset_steps import FullMethod
from stages.files import IBB
from stages.networks import save_network
from stages.reading import whole_images
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
WALKS = {"": "none", " + walk over features": "features"}


def main() -> None:
    """The command."""
    no_options(__doc__)
    with scratch_folder() as name:
        folder = Path(name)
        index = generated_index(folder, IMAGES)
        cfg = load_config(CONFIG, "voc12_compact", CAM)
        compute, settings = choose_compute(cfg), cfg.segmenter
        backbone, names = cfg.model.backbone, index.class_names
        classifier = build_classifier(backbone, len(names), "imagenet")
        channels = classifier.backbone.channels[context_stage(classifier.backbone)]
        classifier.context = ContextDiscriminant(len(names), channels)
        compute.network(classifier).requires_grad_(False)
        segmenter = build_segmenter(backbone, len(names) + 1, "imagenet", settings.stage, settings.decoder_strides)
        save_network(folder / IBB, "segmenter", segmenter, names, cfg, {})
        images = [
            (item["image"], item["labels"].nonzero().flatten().tolist())
            for item in whole_images(index, range(IMAGES), 0, "")
        ]

        def maps(method: FullMethod) -> None:
            for image, classes in images:
                method.trace(image, classes)

        plain = FullMethod(cfg, folder, classifier, compute)
        for title, chosen in SETTINGS.items():
            for walk, kind in WALKS.items():
                own = load_config(CONFIG, "voc12_compact", [*chosen, f"affinity.kind={kind}"])
                full = FullMethod(own, folder, classifier, compute)
                ours, cam, ratio = compare(partial(maps, full), partial(maps, plain), PAIRS)
                seconds = f"{ours / IMAGES:6.2f} s an image, CAM {cam / IMAGES:.2f} s"
                print(f"{title + walk:56}{seconds}: {ratio:.1f} times", flush=True)


if __name__ == "__main__":
    main()
