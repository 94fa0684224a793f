"""From networks to files that can be measured: the method's ladder of seeds, and a segmentation network's masks."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from data.artifacts import write_mask, write_seed
from data.dataset import Index, Record
from data.index import class_palette
from evaluation.scores import Evaluation, evaluate_masks, evaluate_seeds
from models.classifier import Classifier
from models.segmenter import Segmenter, class_probabilities, restrict_to
from stages.seeds import build_method, predicted_classes, prepare, to_seed, whole_images
from stages.space import require_image_space
from utils.config import Config
from utils.distributed import from_main
from utils.engine import choose_compute
from utils.files import atomic_path, is_whole
from utils.visualize import fit

# Each step of the method with given labels (a field of `models.ibb.Trace`), and what its line is called; the last is the seed.
RUNGS = {"cam": "CAM", "gfm": "+ GFM", "prm": "+ PRM", "ibb": "+ IBB", "context": "+ context (the seed)"}
LAST_RUNG = [*RUNGS][-1]
GIVEN, PREDICTED = "given", "predicted"
BLURRED = "blurred"  # folder of the images that the rounds of IBB have read, ID.1.webp, ID.2.webp, ...
BLURRED_SIDE, BLURRED_QUALITY = 288, 60


def write_ladder(classifier: Classifier, index: Index, folder: Path, cfg: Config) -> int:
    """Write `RUNG/ID.npz` for each step with given labels, and `predicted/ID.npz`, the seed of the predicted classes.

    Also `blurred/ID.ROUND.webp`, what each round of IBB has read.

    One pass gives all steps: each equals the result of a run with the later modules switched off.

    Returns:
        How many images were read; those whose files are there already are not.
    """
    compute = choose_compute(cfg)
    compute.network(classifier)
    method = build_method(cfg)
    missing = from_main(
        lambda: [n for n, record in enumerate(index.records) if not _has_steps(record, folder, method.iterations)]
    )
    # blurred images are small beside these
    require_image_space(folder, index, missing, seeds=len(RUNGS) + 1, masks=method.iterations)
    for item in whole_images(index, missing, cfg.workers, "ladder"):
        classes = item["labels"].nonzero().flatten().tolist()
        size = item["image"].shape[-2:]
        image = prepare(item["image"], classifier, compute, cfg.seeds.max_side)
        with compute.autocast():
            trace = method.trace(classifier, image, classes)
            predicted = predicted_classes(trace.logits, cfg.seeds.class_threshold)
            maps = trace.context if predicted == classes else method(classifier, image, predicted)
        for number, image in enumerate(trace.blurred, 1):
            write_blurred(folder / BLURRED / f"{item['name']}.{number}.webp", image, classifier)
        for rung in RUNGS:
            write_seed(
                folder / rung / f"{item['name']}.npz", to_seed(getattr(trace, rung), classes, size), index.class_names
            )
        write_seed(folder / PREDICTED / f"{item['name']}.npz", to_seed(maps, predicted, size), index.class_names)
    return len(missing)


def write_blurred(path: Path, image: Tensor, classifier: Classifier) -> None:
    """An image that a round of the background blur has read, (3, H, W) normalised, small, for people to see."""
    backbone = classifier.backbone
    mean, std = (torch.tensor(values, device=image.device)[:, None, None] for values in (backbone.mean, backbone.std))
    pixels = ((image.float() * std + mean).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    with atomic_path(path) as temporary:
        Image.fromarray(fit(pixels, BLURRED_SIDE)).save(temporary, quality=BLURRED_QUALITY)


def ladder_complete(index: Index, folder: Path, rounds: int = 0) -> bool:
    """Whether every image has all its steps, and what `rounds` rounds of IBB have read."""
    return all(_has_steps(record, folder, rounds) for record in index.records)


def _has_steps(record: Record, folder: Path, rounds: int) -> bool:
    rounds = rounds if record.labels else 0  # an image without labels is not blurred
    blurred = (folder / BLURRED / f"{record.name}.{number}.webp" for number in range(1, rounds + 1))
    steps = (folder / rung / f"{record.name}.npz" for rung in (PREDICTED, *RUNGS))
    return all(is_whole(path) for path in (*steps, *blurred))


def write_predictions(segmenter: Segmenter, index: Index, folder: Path, cfg: Config, given: bool = True) -> int:
    """Write `given/ID.png` (limited to the given labels) and `predicted/ID.png`.

    Args:
        given: whether to write the former, too; without labels there is nothing to write.

    Returns:
        How many images were read; those whose files are there already are not.
    """
    compute = choose_compute(cfg)
    compute.network(segmenter)
    names = [PREDICTED, GIVEN][: 1 + given]
    missing = from_main(
        lambda: [
            number
            for number, record in enumerate(index.records)
            if not all(is_whole(folder / name / f"{record.name}.png") for name in names)
        ]
    )
    require_image_space(folder, index, missing, masks=len(names))
    palette = class_palette(cfg.data, index.class_names)
    for item in whole_images(index, missing, cfg.workers, "predict"):
        image = prepare(item["image"], segmenter, compute, cfg.segment.max_side)
        size = tuple(item["image"].shape[-2:])
        with compute.autocast(), torch.no_grad():
            probabilities = class_probabilities(segmenter, image, cfg.segment.scales, cfg.segment.flip, size)
        if given:
            limited = restrict_to(probabilities, item["labels"].nonzero().flatten().tolist())
            write_mask(
                folder / GIVEN / f"{item['name']}.png", limited.argmax(dim=0).cpu().numpy(), palette, index.class_names
            )
        write_mask(
            folder / PREDICTED / f"{item['name']}.png",
            probabilities.argmax(dim=0).cpu().numpy(),
            palette,
            index.class_names,
        )
    return len(missing)


def evaluate_ladder(index: Index, folder: Path, cfg: Config, **said: Any) -> dict[str, Evaluation]:
    """Every rung of `write_ladder`'s files, the predicted one last."""
    rungs = {name: evaluate_rung(index, folder / name, GIVEN, cfg, **said) for name in RUNGS}
    return rungs | {PREDICTED: evaluate_rung(index, folder / PREDICTED, PREDICTED, cfg, **said)}


def evaluate_rung(index: Index, folder: Path, labels: str, cfg: Config, **said: Any) -> Evaluation:
    """One folder of seeds that were made with `given` or `predicted` labels."""
    return evaluate_seeds(
        index,
        folder,
        cfg.pseudo.threshold,
        cfg.report.thresholds,
        cfg.workers,
        labels=labels,
        scales=list(cfg.cam.scales),
        flip=cfg.cam.flip,
        crf="none",
        **said,
    )


def evaluate_predictions(index: Index, folder: Path, cfg: Config, **said: Any) -> dict[str, Evaluation]:
    """`write_predictions`' files: with the network's own classes, and limited to the given labels."""
    return {
        name: evaluate_masks(
            index,
            folder / name,
            cfg.workers,
            labels=name,
            scales=list(cfg.segment.scales),
            flip=cfg.segment.flip,
            crf="none",
            **said,
        )
        for name in (PREDICTED, GIVEN)
    }


def evaluate_network(
    network: Classifier | Segmenter, index: Index, folder: Path, cfg: Config, **said: Any
) -> dict[str, Evaluation]:
    """Run a network over a list and measure it, with predicted classes (first) and limited to the given labels.

    Args:
        index: opened with masks.
        folder: where its files go.
        said: what else to state of the evaluation.
    """
    if isinstance(network, Classifier):
        write_ladder(network, index, folder, cfg)
        rungs = evaluate_ladder(index, folder, cfg, **said)
        return {
            "seeds, predicted labels": rungs[PREDICTED],
            "seeds, given labels": rungs[LAST_RUNG],
            "CAM, given labels": rungs["cam"],
        }
    write_predictions(network, index, folder, cfg)
    masks = evaluate_predictions(index, folder, cfg, **said)
    return {f"segmentation, {name} labels": evaluation for name, evaluation in masks.items()}
