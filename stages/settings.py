"""The settings of the stages, a class for each thing that reads them; those of the method's steps are in models/steps.

Several classes may share a section of config.yaml (stages/config.py says which), so that what trains a network and what
reads images with it are apart: a stage runs again only when a class that it reads has changed.
"""

from dataclasses import dataclass
from typing import Literal

from utils.optimisation import Optimisation
from utils.settings import Problem, check_order, setting


@dataclass(frozen=True)
class ModelSettings:
    """The backbone of all networks (models/backbone.py)."""

    backbone: str = setting("resnet50", help="resnet50, resnet101, efficientnet_lite0 .. 2, timm/NAME")
    weights: str = setting("imagenet", help="imagenet, none, or the path of a .pth or .safetensors file")


@dataclass(frozen=True)
class CamTraining(Optimisation):
    """Stage `cam`: training of the classifier."""

    epochs: int = setting(5, low=1, help="IRN: 5")
    crop_size: int = setting(512, low=32, help="IRN: 512")
    resize_long: tuple[int, int] = setting(
        (320, 640), low=32, help="the long side is drawn from this range before the crop (IRN: 320..640)"
    )
    color_jitter: float = setting(0.0, low=0, high=1, help="brightness, contrast, saturation by 1 +- this (IRN: none)")
    frozen_stride: int = setting(
        8, low=0, high=64, help="stages up to this stride get no gradient (IRN detaches after layer2, stride 8)"
    )
    frozen_depth: float = setting(
        0.0, low=0, high=1, help="timm/ backbones: this part of the blocks gets no gradient; for transformers"
    )
    class_weights: Literal["none", "balanced"] = setting(
        "none", help="balanced: images of a class count as much as those without it"
    )
    stage_loss: float = setting(
        0.0, low=0, high=100, help="weight of the loss of each of several head_stages alone; 0: their sum only"
    )
    held_back: float = setting(
        0.0, low=0, high=0.5, help="this part of the images is not trained with, to see by it what has been learned"
    )


@dataclass(frozen=True)
class CamCheck:
    """What happens after stage `cam` if it has learned nothing."""

    must_learn: bool = setting(True, help="stop where no class of the images held back is found better than by chance")


@dataclass(frozen=True)
class SeedReading:
    """Stage `seeds`, and whatever reads images with the classifier afterwards."""

    max_side: int = setting(0, low=0, help="images are made this small before they are read; 0: as they are")


@dataclass(frozen=True)
class Prediction:
    """Which classes a classifier predicts where labels are not given: the ablation, evaluate.py and infer.py."""

    class_threshold: float = setting(
        0.5, low=0, high=1, help="where labels are not given: classes of at least this probability"
    )


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

    def check(self) -> Problem | None:
        """`lo` must not be above `hi`."""
        return check_order(("context.lo", self.lo), ("context.hi", self.hi))


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


@dataclass(frozen=True)
class BlurCorrection:
    """Stage `correct`: the network of stage `ibb` corrects the seeds."""

    weight: float = setting(0.5, low=0, high=1, help="stage correct: of that network in the seeds")
    network_scales: tuple[float, ...] = setting((1.0,), low=0.1, high=8, help="it reads all images at these sizes")
    network_flip: bool = setting(True, help="and mirrored")


@dataclass(frozen=True)
class AffinitySettings:
    """Stages `affinity` and `walk`."""

    kind: str = setting(
        "none", help="none, learned (train the network), features (walk over the classifier's own features)"
    )
    max_side: int = setting(
        0, low=0, help="images are first made this small, in training and for the walk; 0: as they are"
    )


@dataclass(frozen=True)
class AffinityTraining(Optimisation):
    """Stage `affinity`: IRN's confident labels and boundary network."""

    epochs: int = setting(3, low=1, help="IRN: 3")
    batch_size: int = setting(32, low=1, help="IRN: 32")
    fg_threshold: float = setting(0.30, low=0, high=1, help="confident foreground of a seed (IRN: 0.30)")
    bg_threshold: float = setting(0.05, low=0, high=1, help="confident background (IRN: 0.05)")
    refine: str = setting("auto", help="crf, par, none; auto: crf where pydensecrf2 is installed, else par")
    displacement: bool = setting(
        False,
        help="also train the displacement branch, for instances, at lr times lr_head_factor",
    )
    crop_size: int = setting(512, low=32, help="IRN: 512")
    scale_range: tuple[float, float] = setting(
        (0.5, 1.5), low=0.1, high=8, help="random size factor before the crop (IRN: 0.5 to 1.5)"
    )
    radius: int = setting(10, low=2, high=50, help="of the pairs that are learned from, in cells of 4 pixels (IRN: 10)")

    def check(self) -> Problem | None:
        """The confident background must not be above the confident foreground."""
        return check_order(("affinity.bg_threshold", self.bg_threshold), ("affinity.fg_threshold", self.fg_threshold))


@dataclass(frozen=True)
class BoundaryWalk:
    """Stage `walk` with `affinity.kind: learned`."""

    walk_radius: int = setting(5, low=2, high=50, help="for kind: learned; of the random walk (IRN: 5)")
    beta: float = setting(10.0, low=0, high=1000, help="affinities to this power (IRN: 10)")
    exp_times: int = setting(8, low=0, high=20, help="2^8 steps (IRN: 8)")
    walk_background: float = setting(
        0.0, low=0, high=10, help="the background walks too, as a map of this value; 0: it does not (IRN)"
    )


@dataclass(frozen=True)
class FeatureWalk:
    """Stage `walk` with `affinity.kind: features`."""

    feature_strides: tuple[int, ...] = setting(
        (8, 16), help="for kind: features; the first stage of each of these strides"
    )
    feature_power: float = setting(8.0, low=0, high=1000, help="cosines to this power")
    feature_steps: int = setting(4, low=0, high=1000, help="of the walk")
    feature_keep: float = setting(0.8, low=0, high=1, help="what of a map walks at each step")
    feature_least: float = setting(
        0.0,
        low=0,
        high=1,
        help="a map with a smaller part than this above one half does not walk",
    )


@dataclass(frozen=True)
class PseudoSettings:
    """Stage `pseudo`: maps -> masks (models/pseudo.py, stages/refinement.py)."""

    background: Literal["threshold", "power"] = setting(
        "threshold", help="threshold, or power: (1 - highest map) ^ power"
    )
    threshold: float = setting(
        0.25, low=0, high=1, help="background where no map is above (IRN's sem_seg_bg_thres: 0.25)"
    )
    find_threshold: bool = setting(
        False, help="find the threshold without truth, by the seeds; it is in threshold.json"
    )
    power: float = setting(4.0, low=0.1, high=100, help="for background: power")
    ignore_band: float = setting(0.0, low=0, high=0.5, help="pixels this close to the decision are marked 255")
    refine: str = setting("none", help="none, par (plain torch), crf (needs pydensecrf2)")
    par_iterations: int = setting(10, low=0, high=200, help="for refine: par")
    crf_iterations: int = setting(10, low=0, high=200, help="for refine: crf (IRN: 10)")


@dataclass(frozen=True)
class SegmenterTraining(Optimisation):
    """How stages `ibb` and `segment` train a segmentation network."""

    stage: int = setting(-1, help="position of the backbone stage that the head reads")
    decoder_strides: tuple[int, ...] = setting(
        (), help="such as [4, 8]: join the last stage of each stride (DeepLabV3+)"
    )
    from_classifier: bool = setting(False, help="begin with the backbone of the classifier; so does stage ibb")
    crop_size: int = setting(512, low=32)
    scale_range: tuple[float, float] = setting((0.5, 2.0), low=0.1, high=8, help="random size factor before the crop")
    max_side: int = setting(0, low=0, help="images are first made this small; 0: as they are")
    color_jitter: float = setting(0.3, low=0, high=1)
    object_weight: float = setting(
        1.0,
        low=0,
        high=1000,
        help="pixels of objects count this many times; 0: from the masks (segment.py)",
    )
    dice: float = setting(
        0.0, low=0, high=100, help="weight of the Dice loss, in which small objects count as large ones"
    )
    lr: float = setting(0.01, low=0, help="of the backbone")
    momentum: float = setting(0.9, low=0, high=1)
    weight_decay: float = setting(1e-4, low=0)
    frozen_stride: int = setting(0, low=0, high=64, help="stages up to this stride get no gradient")
    frozen_depth: float = setting(0.0, low=0, high=1, help="timm/ backbones: this part of the blocks gets no gradient")


@dataclass(frozen=True)
class SegmentStage:
    """Stage `segment`: what it does not share with stage `ibb`."""

    from_ibb: bool = setting(True, help="begin with the whole network of stage ibb, where there is one")
    epochs: int = setting(30, low=1)
    average: float = setting(
        0.0, low=0, high=0.9999, help="keep the mean of the weights, with this decay a step; 0: the last"
    )
    paste: float = setting(0.0, low=0, high=1, help="this part of the crops gets the objects of another crop")
    image_loss: float = setting(0.0, low=0, high=100, help="weight of the loss of the classes of each crop as a whole")


@dataclass(frozen=True)
class SegmentReading:
    """How a segmentation network reads images: stage `report`, evaluate.py and infer.py. It retrains nothing."""

    scales: tuple[float, ...] = setting((0.5, 0.75, 1.0, 1.25, 1.5), low=0.1, high=8, help="at test")
    flip: bool = setting(True, help="at test")


@dataclass(frozen=True)
class InferSettings:
    """infer.py and evaluate.py with a classifier."""

    quality: Literal["full", "fast"] = setting(
        "full",
        help="full (every step of its run) or fast (one size, no blurred image, no other network)",
    )


@dataclass(frozen=True)
class ReportSettings:
    """Stages `ablation` and `report`: figures on the validation list."""

    enabled: bool = setting(True)
    thresholds: int = setting(91, low=2, high=1001, help="background thresholds tried between 0 and 0.9")
