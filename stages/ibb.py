"""Stages `ibb` and `correct`: a network learns the seeds on blurred images and corrects them; docs/method.md 5."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.transforms import BackgroundBlur
from models.classifier import Classifier
from models.segmenter import class_probabilities, restrict_to
from stages.config import Config
from stages.dataset_step import Apply, DatasetStep, Fit
from stages.files import IBB, IBB_MASKS, trains_on_blurred
from stages.lists import seed_index
from stages.mask_writer import write_pseudo_masks
from stages.networks import load_segmenter
from stages.reading import Change
from stages.segment import SegmenterPlan, train_on_masks
from stages.settings import PseudoSettings
from stages.threshold import find_threshold
from utils.distributed import from_main
from utils.run import Run


def no_blur_training(cfg: Config) -> str | None:
    """Why no network is trained on blurred images, or None if one is."""
    if trains_on_blurred(cfg):
        return None
    return "ibb.epochs is 0" if cfg.step("ibb").enabled else "ibb.enabled is false"


def train_with_blur(cfg: Config, run: Run, seeds: Path) -> dict[str, Any]:
    """Cut the seeds at `ibb.threshold` (`ibb_masks/ID.png`), train on them with blur, write `ibb.pth`."""
    settings = cfg.blur_training
    index = seed_index(cfg)
    found = from_main(lambda: find_threshold(index, seeds)) if settings.find_threshold else None
    cut = PseudoSettings(threshold=found.threshold if found else settings.threshold, ignore_band=settings.ignore_band)
    if found:
        run.log(f"ibb       the seeds are cut at {found.threshold:.3g}, found without truth: {found.reason}")
    # These masks are for training alone, so colours do not matter: without them a change of colours retrains nothing.
    own = dataclasses.replace(cfg, pseudo=cut, data=dataclasses.replace(cfg.data, colors=()))
    write_pseudo_masks(own, index, seeds, run.fresh_folder(IBB_MASKS))
    blur = BackgroundBlur(settings.blurred_share, settings.blurred_sigma)
    return train_on_masks(cfg, run, SegmenterPlan("ibb", settings.epochs, IBB_MASKS, IBB, blur=blur))


def open_correction(cfg: Config, folder: Path, classifier: Classifier) -> Change:
    """A_k <- (1 - w) A_k + w p_k, with p_k of the network that stage `ibb` has trained."""
    segmenter = load_segmenter(folder / IBB)
    settings = cfg.correction

    def see(image: Tensor, classes: Sequence[int], size: tuple[int, int]) -> Tensor:
        found = class_probabilities(segmenter, image, settings.network_scales, settings.network_flip, size)
        found = restrict_to(found, classes)
        return found[[index + 1 for index in classes]] / found.sum(dim=0).clamp_min(torch.finfo(found.dtype).tiny)

    def change(maps: Tensor, probabilities: Tensor) -> Tensor:
        return torch.lerp(maps, probabilities.to(maps), settings.weight)

    return Change(segmenter, cfg.segmenter.max_side, see, change)


BLUR_STEP = DatasetStep(
    name="trained",
    title="IBB in training",
    skip=no_blur_training,
    apply=Apply(
        stage="correct",
        title="let the network of stage ibb correct the seeds",
        reads=lambda cfg: ("correction",),
        open=open_correction,
        files=lambda cfg, classifier: (IBB,),
    ),
    fit=Fit(
        stage="ibb",
        title="train on the seeds with their background blurred",
        run=train_with_blur,
        reads=("seed", "precision", "model", "segmenter", "blur_training"),
        writes=IBB,
    ),
)
