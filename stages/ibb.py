"""Stages `ibb` and `correct`: a network learns the seeds on blurred images and corrects them; docs/method.md 5."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.hints import open_hints
from data.transforms import BackgroundBlur
from models.classifier import Classifier
from models.hints import ImageHints
from models.segmenter import class_probabilities, restrict_to
from stages.files import IBB, IBB_MASKS, seed_index, trains_on_blurred
from stages.learned import tell
from stages.networks import load_segmenter
from stages.pseudo import write_pseudo_masks
from stages.reading import Apply, Change, DatasetStep, Fit
from stages.segment import SegmenterPlan, train_on_masks
from stages.settings import Config, PseudoSettings
from utils.run import Run
from utils.settings import Part, setting


@dataclass(frozen=True)
class BlurTraining:
    """Stage `ibb`: a segmentation network is trained on the seeds, with blurred backgrounds."""

    epochs: int = setting(8, low=0, help="stage ibb: training on images with blurred backgrounds; 0: none")
    threshold: float = setting(0.2, low=0, high=1, help="it learns the seeds cut at this background score,")
    ignore_band: float = setting(0.1, low=0, high=0.5, help="but not where an object's score is nearer to it than this")
    blurred_share: float = setting(0.5, low=0, high=1, help="of the crops get a blurred background,")
    blurred_sigma: tuple[float, float] = setting(
        (0.03, 0.1), low=0.001, high=1, help="with a deviation between these parts of the crop's side"
    )
    crop_size: int | None = setting(None, low=32, help="of stage ibb; null: as in segment, also for the next three")
    scale_range: tuple[float, float] | None = setting(None, low=0.1, high=8, help="as in segment, for stage ibb alone")
    max_side: int | None = setting(None, low=0, help="the same; stage correct reads images at this size, too")
    frozen_stride: int | None = setting(None, low=0, high=64, help="the same")

    def training(self, cfg: Config) -> Config:
        """The configuration with what stage `ibb` has otherwise than stage `segment`."""
        own = {name: getattr(self, name) for name in ("crop_size", "scale_range", "max_side", "frozen_stride")}
        return cfg.changed("segmenter", **{name: value for name, value in own.items() if value is not None})


@dataclass(frozen=True)
class BlurCorrection:
    """Stage `correct`: the network of stage `ibb` corrects the seeds."""

    weight: float = setting(0.5, low=0, high=1, help="stage correct: of that network in the seeds")
    network_scales: tuple[float, ...] = setting((1.0,), low=0.1, high=8, help="it reads all images at these sizes")
    network_flip: bool = setting(True, help="and mirrored")


def no_blur_training(cfg: Config) -> str | None:
    """Why no network is trained on blurred images, or None if one is."""
    if trains_on_blurred(cfg):
        return None
    return "ibb.epochs is 0" if cfg.step("ibb").enabled else "ibb.enabled is false"


def train_with_blur(cfg: Config, run: Run, seeds: Path) -> dict[str, Any]:
    """Cut the seeds at `ibb.threshold` (`ibb_masks/ID.png`), train on them with blur, write `ibb.pth`."""
    settings = cfg.part("blur_training")
    index = seed_index(cfg)
    cut = PseudoSettings(threshold=settings.threshold, ignore_band=settings.ignore_band)
    # These masks are for training alone, so colours do not matter: without them a change of colours retrains nothing.
    own = replace(cfg.changed("data", colors=()), pseudo=cut)
    write_pseudo_masks(own, index, seeds, run.fresh_folder(IBB_MASKS), open_hints(cfg.data, index))
    blur = BackgroundBlur(settings.blurred_share, settings.blurred_sigma)
    plan = SegmenterPlan("ibb", settings.epochs, IBB_MASKS, IBB, blur=blur)
    figures = train_on_masks(settings.training(cfg), run, plan)
    warnings = figures.pop("warnings")
    return figures | tell(run, "ibb", warnings)


def open_correction(cfg: Config, folder: Path, classifier: Classifier) -> Change:
    """A_k <- (1 - w) A_k + w p_k, with p_k of the network that stage `ibb` has trained."""
    segmenter = load_segmenter(folder / IBB, classifier.class_names)
    settings = cfg.part("correction")

    def see(image: Tensor, classes: Sequence[int], size: tuple[int, int]) -> Tensor:
        found = class_probabilities(segmenter, image, settings.network_scales, settings.network_flip, size)
        found = restrict_to(found, classes)
        return found[[index + 1 for index in classes]] / found.sum(dim=0).clamp_min(torch.finfo(found.dtype).tiny)

    def change(maps: Tensor, probabilities: Tensor, hints: ImageHints | None = None) -> Tensor:
        return torch.lerp(maps, probabilities.to(maps), settings.weight)

    return Change(segmenter, cfg.part("blur_training").training(cfg).segmenter, see, change)


BLUR_STEP = DatasetStep(
    name="trained",
    title="IBB in training",
    settings=(Part("blur_training", "ibb", BlurTraining), Part("correction", "ibb", BlurCorrection)),
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
        reads_with_hints=("hint_loss",),
        writes=IBB,
    ),
)
