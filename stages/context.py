"""Stages `context` and `remove`: what occurs together with each class is learned and removed; docs/method.md 4."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from data.artifacts import read_seed
from data.hints import open_hints
from models.classifier import Classifier
from models.context import ContextDiscriminant, ContextStatistics, context_stage
from models.hints import ImageHints
from models.pseudo import upsample
from models.reading import Views, map_size, normalise_maps, read_features, unit_features
from stages.files import CLASSIFIER, CONTEXT, require_network_space, seed_index
from stages.hints import image_hints_of
from stages.networks import load_classifier, save_network
from stages.reading import Apply, Change, DatasetStep, Fit, prepare, whole_images
from stages.settings import Config
from utils.compute import choose_compute
from utils.distributed import total
from utils.errors import UserError
from utils.run import Run
from utils.settings import Part, Problem, check_order, setting

# exports.release changes weights by less; those of another training differ by more.
ROUNDED = 0.01, 1e-6  # of a weight, and at least
MOST_TIMES = 8  # that an image with hints counts, when context is learned


@dataclass(frozen=True)
class ContextSettings:
    """Stages `context` and `remove`: what occurs together with each class (models/context.py)."""

    enabled: bool = setting(True, help="remove what occurs together with a class")
    hi: float = setting(0.65, low=0, high=1, help="confident object above, of the seeds that it is learned from")
    lo: float = setting(0.25, low=0, high=1, help="confident background below")
    shrinkage: float = setting(
        0.05, low=1e-6, high=1, help="this part of the covariance is replaced by the same variance in all directions"
    )
    least_others: int = setting(
        10, low=0, help="objects of other classes count where there are so many of them; 0: never"
    )
    scales: tuple[float, ...] = setting(
        (1.0,), low=0.1, high=8, help="sizes at which features are read; 2 for objects of few pixels"
    )

    def check(self) -> Problem | None:
        """`lo` must not be above `hi`."""
        return check_order(("context.lo", self.lo), ("context.hi", self.hi))


def learn_context(cfg: Config, run: Run, seeds: Path) -> dict[str, Any]:
    """Write `context.pth`: the classifier with the context discriminant that the seeds of the seed list give."""
    index = seed_index(cfg)
    settings, compute, hints = cfg.part("context"), choose_compute(cfg), open_hints(cfg.data, index)
    classifier = compute.network(load_classifier(run.path(CLASSIFIER), index.class_names))
    require_network_space(run.folder, classifier)
    channels = classifier.backbone.channels[context_stage(classifier.backbone)]
    statistics = ContextStatistics(classifier.num_classes, channels)
    # A person is right more often than maps are, but the hints of two or three images are not yet a class.
    times = min(MOST_TIMES, max(1, len(hints.images) // classifier.num_classes))
    for item in whole_images(index, range(len(index)), cfg.workers, "context"):
        seed = read_seed(seeds / f"{item['name']}.npz", index.class_names)
        if not len(seed.classes):
            continue
        image = prepare(item["image"], classifier, compute, cfg.seeds)
        with compute.autocast():
            unit = context_features(classifier, image, settings.scales)
        maps, classes = torch.from_numpy(seed.maps).to(unit.device), seed.classes.tolist()
        maps = interpolate(maps[None], unit.shape[1:], mode="area")[0]
        own_hints = image_hints_of(hints, item["name"], seed)
        if own_hints is not None:
            maps = own_hints.spread(maps, unit)
        statistics.add(unit, maps, classes, settings.hi, settings.lo, times if own_hints is not None else 1)
    for tensor in statistics.tensors():
        tensor.copy_(total(tensor))
    classifier.context = statistics.solve(settings.shrinkage, settings.least_others)
    run.replace_output()
    save_network(run.path(CONTEXT), "classifier", classifier, index.class_names, cfg, {})
    return {"images": len(index), "classes": classifier.context.known_classes}


def context_features(classifier: Classifier, image: Tensor, scales: Sequence[float]) -> Tensor:
    """The unit features f, (D, h, w), of the discriminant."""
    stage = context_stage(classifier.backbone)
    return unit_features(read_features(classifier, image, [stage], Views(scales=tuple(scales), flip=False)))


def open_context(cfg: Config, folder: Path, classifier: Classifier) -> Change:
    """A_k <- n(A_k min(L_k, O_k)), with the discriminant of the classifier, on the grid of `cam.map_stride`."""
    discriminant = classifier.context or _context_beside(classifier, folder / CONTEXT)

    def see(image: Tensor, classes: Sequence[int], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        unit = context_features(classifier, image, cfg.part("context").scales)
        likely = discriminant(unit, classes)
        cells = map_size(image.shape[-2], image.shape[-1], cfg.step("cam").map_stride)
        if likely.shape[1] >= cells[0]:
            return unit, likely
        return normalize(upsample(unit, cells), dim=0), upsample(likely, cells)  # a mean of units is shorter

    def change(maps: Tensor, seen: tuple[Tensor, Tensor], hints: ImageHints | None = None) -> Tensor:
        unit, likely = seen
        on_grid = interpolate(maps[None], likely.shape[1:], mode="area")[0]
        if hints is not None:
            on_grid = hints.spread(on_grid, unit)
        return normalise_maps(on_grid * likely)

    return Change(classifier, cfg.seeds, see, change)


def _context_beside(classifier: Classifier, path: Path) -> ContextDiscriminant:
    """The context of a classifier, whose features it weighs, in another file; `UserError` if it is of another one."""
    taught = load_classifier(path, classifier.class_names)
    if taught.context is None:
        raise UserError(f"{path} holds a classifier without context; run stage context again")
    own, other = (network.classifier.weight.float().cpu() for network in (classifier, taught))
    if own.shape != other.shape or not torch.allclose(own, other, *ROUNDED):
        remedy = "run train.py again, which learns it anew, or move the file away to go without this step"
        raise UserError(f"{path} was learned with another classifier than the one that reads the images; {remedy}")
    return taught.context


CONTEXT_STEP = DatasetStep(
    name="context",
    title="context",
    settings=(Part("context", "context", ContextSettings),),
    skip=lambda cfg: None if cfg.part("context").enabled else "context.enabled is false",
    apply=Apply(
        stage="remove",
        title="remove what occurs together with each class from the seeds",
        reads=lambda cfg: ("seeds",),
        open=open_context,
        files=lambda cfg, classifier: () if classifier.context is not None else (CONTEXT,),
    ),
    fit=Fit(
        stage="context",
        title="learn from the seeds what occurs together with each class",
        run=learn_context,
        reads=("context", "seeds"),
        writes=CONTEXT,
    ),
)
