"""Which settings fit own images (`data.recipe: auto`): by colours and labels, and by what the backbone's features know.

The classes of photographs are told by objects: the last stage of a backbone knows them, an early one hardly does.
Defects and textures are told by an early stage nearly as well (docs/log.md, e90).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import torch

from data.dataset import Index, Record
from data.inspection import spread
from data.recipe import INSPECTION, Fit, fitting_preset
from data.transforms import Sides
from models.classifier import Classifier, build_classifier
from stages.reading import prepare
from stages.settings import Config
from utils.compute import choose_compute
from utils.errors import UserError
from utils.file_digests import digest_files
from utils.files import digest, read_json, write_json
from utils.run import CONTENTS

RECIPE = "recipe.json"  # of a run folder: what the features know, so that it is found once
LABELLED, EMPTY, SIDE = 300, 100, 256  # images that are looked at, with and without a class, and their long side
EARLY = 8  # the stride of the early stage
FEWEST = 30  # images with a class; of fewer the figure is uncertain (docs/log.md, e90)
LEAST = 6  # images that show a class, and that do not; with fewer it is not counted
KNOWN, ALL = 0.4, 1.9  # deviations between which a stage knows something and not everything: areas of 0.66 and 0.97
PHOTOGRAPHS, TEXTURES = 0.52, 0.7  # what the early stage knows of what the last one does: at most, and at least


def fit_of(cfg: Config, index: Index) -> Fit:
    """The preset for a list of own images: by colours and labels, and, where these contradict, by features."""
    fit = fitting_preset(index)
    share = early_share(cfg, index)
    if share is None or PHOTOGRAPHS < share < TEXTURES:
        return fit
    preset = "" if share <= PHOTOGRAPHS else INSPECTION
    if preset == fit.preset:
        return fit
    what = "objects, as in photographs" if preset == "" else "textures"
    known = f"an early stage of {cfg.model.backbone} knows {100 * share:.0f} % of what its last stage knows of them"
    return replace(fit, preset=preset, why=f"{fit.why}, but the classes differ by {what}: {known}")


def early_share(cfg: Config, index: Index) -> float | None:
    """How much the features of stride 8 tell of what those of the last stage tell, None where nothing can be said."""
    labelled = spread([record for record in index.records if record.labels], LABELLED)
    records = [*labelled, *spread([record for record in index.records if not record.labels], EMPTY)]
    labels = np.zeros((len(index.class_names), len(records)), bool)
    for column, record in enumerate(records):
        labels[list(record.labels), column] = True
    shown = labels.sum(axis=1)
    labels = labels[(shown >= LEAST) & (shown <= len(records) - LEAST)]
    if cfg.model.weights == "none" or len(labelled) < FEWEST or not len(labels):
        return None
    contents = digest_files([*(record.image for record in records), cfg.model.weights], Path(cfg.run) / CONTENTS)
    known = [(record.labels, repr(record.pixels)) for record in records]
    key, kept = digest([contents, known, cfg.model.backbone, cfg.model.weights]), Path(cfg.run) / RECIPE
    if (found := read_json(kept)).get("key") == key:
        return found.get("early_share")
    classifier, share = build_classifier(cfg.model.backbone, 1, cfg.model.weights), None
    if EARLY in classifier.backbone.strides:
        share = share_known(labels, *features_of(cfg, classifier, records))
    write_json(kept, {"key": key, "early_share": share})
    return share


@torch.no_grad()
def features_of(cfg: Config, classifier: Classifier, records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and maximum over the cells of the early and the last stage, (N, 2D) each; 0 for images that are damaged."""
    compute, backbone = choose_compute(cfg), classifier.backbone
    compute.network(classifier).eval()
    stages = backbone.strides.index(EARLY), len(backbone.strides) - 1
    found = tuple(np.zeros((len(records), 2 * backbone.channels[stage]), np.float32) for stage in stages)
    for row, record in enumerate(records):
        try:
            pixels = torch.from_numpy(np.array(record.read_image())).permute(2, 0, 1)
        except UserError:  # the stage that needs it says so
            continue
        maps = backbone.stages(compute.image(prepare(pixels, classifier, compute, Sides(SIDE, SIDE))[None]))
        for features, stage in zip(found, stages, strict=True):
            cells = maps[stage][0].float().flatten(1)
            features[row] = torch.cat([cells.mean(dim=1), cells.amax(dim=1)]).cpu().numpy()
    return found[0], found[1]


def share_known(labels: np.ndarray, early: np.ndarray, last: np.ndarray) -> float | None:
    """How well the early features (N, D) tell the labels (C, N) bool, as a part of how well the last ones do.

    None where the last ones tell hardly more than chance, or the early ones nearly everything.
    """
    known_early, known_last = (_separation(labels, features) for features in (early, last))
    return None if known_last < KNOWN or known_early > ALL else known_early / known_last


def _separation(labels: np.ndarray, features: np.ndarray) -> float:
    """By how many deviations ridge regression parts images with a class from the others, unseen; mean of the classes.

    The normal quantile of the area under the ROC curve: of two normal distributions of one deviation, their distance
    in deviations, divided by the root of 2 (Green and Swets 1966).
    """
    features = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    kernel = features.astype(np.float64) @ features.T / features.shape[1]
    found = []
    for truth in labels:
        # Both sides have the same weight. The score of each image is by a regression that has seen all others.
        weights = np.where(truth, 1 / truth.sum(), 1 / (~truth).sum()) * len(truth) / 2
        inverse, wanted = np.linalg.inv(kernel + np.diag(1 / weights)), np.where(truth, 1.0, -1.0)
        scores = wanted - inverse @ wanted / np.diag(inverse)
        area = float((scores[truth][:, None] > scores[~truth]).mean())
        found.append(NormalDist().inv_cdf(min(max(area, 0.5), 1 - 0.1 / truth.sum())))
    return float(np.mean(found))
