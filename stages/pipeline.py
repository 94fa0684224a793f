"""The table of stages, in order: what each reads, what it waits for, when it has nothing to do."""

from stages.affinity import FILE as AFFINITY
from stages.affinity import train_affinity
from stages.cam import FILE as CLASSIFIER
from stages.cam import train_classifier
from stages.lists import list_fingerprint, seed_list
from stages.pseudo import make_pseudo_masks, pseudo_complete
from stages.report import climb_ladder, ladder_is_complete, make_report, no_truth, report_is_complete
from stages.seeds import make_seeds, seeds_complete
from stages.segment import FILE as SEGMENTER
from stages.segment import train_segmenter
from stages.walk import walk_complete, walk_seed_list
from utils.config import Config
from utils.files import is_whole
from utils.run import Run, Stage

NETWORK = ("seed", "precision", "model")
METHOD = ("cam.scales", "cam.flip", "gfm", "prm", "ibb", "seeds.max_side")
CAM_TRAINING = tuple(
    f"cam.{name}" for name in ("epochs", "batch_size", "crop_size", "resize_long", "color_jitter", "lr", "lr_head_factor", "momentum",
                               "weight_decay", "poly_power", "frozen_stride")
)  # fmt: skip

AFFINITY_TRAINING = tuple(
    f"affinity.{name}" for name in ("fg_threshold", "bg_threshold", "refine", "displacement", "crop_size", "scale_range", "max_side",
                                    "batch_size", "epochs", "lr", "lr_displacement_factor", "momentum", "weight_decay", "poly_power",
                                    "radius")
)  # fmt: skip


def _not_built(what: str) -> str:
    return f"{what} is not built yet; what comes in goes on unchanged"


def _cannot_run(cfg: Config, run: Run) -> dict:
    raise AssertionError("this stage is always skipped")


STAGES = (
    Stage(
        "cam", "train the classifier on image-level labels", train_classifier,
        reads=(*NETWORK, *CAM_TRAINING),
        inputs=lambda cfg: list_fingerprint(cfg, cfg.data.train_list),
        complete=lambda cfg, run: is_whole(run.path(CLASSIFIER)),
        writes_checkpoint=CLASSIFIER,
    ),
    Stage(
        "ibb", "train the classifier on pictures with blurred background", _cannot_run,
        reads=(), upstream=("cam",),
        skip=lambda cfg: _not_built("training with blurred backgrounds"),
    ),
    Stage(
        "seeds", "read the seed list with CAM, GFM, PRM and IBB", make_seeds,
        reads=METHOD, upstream=("ibb",),
        inputs=lambda cfg: list_fingerprint(cfg, seed_list(cfg)),
        complete=seeds_complete,
    ),
    Stage(
        "affinity", "train the affinity network on confident seeds", train_affinity,
        reads=(*NETWORK, *AFFINITY_TRAINING), upstream=("seeds",),
        complete=lambda cfg, run: is_whole(run.path(AFFINITY)),
        skip=lambda cfg: None if cfg.affinity.kind == "learned" else f"affinity.kind is {cfg.affinity.kind}",
    ),
    Stage(
        "walk", "walk the seeds over pixel affinities", walk_seed_list,
        reads=("cam.scales", "cam.flip", "affinity"), upstream=("affinity",),
        complete=walk_complete,
        skip=lambda cfg: "affinity.kind is none" if cfg.affinity.kind == "none" else None,
    ),
    Stage(
        "pseudo", "turn seeds into pseudo masks", make_pseudo_masks,
        reads=("pseudo",), upstream=("walk",),
        complete=pseudo_complete,
    ),
    Stage(
        "segment", "train the segmentation network on the pseudo masks", train_segmenter,
        reads=(*NETWORK, "segment"), upstream=("pseudo",),
        complete=lambda cfg, run: is_whole(run.path(SEGMENTER)),
        writes_checkpoint=SEGMENTER,
    ),
    Stage(
        "ladder", "read the validation list with each module", climb_ladder,
        reads=(*METHOD, "seeds.class_threshold"), upstream=("ibb",),
        inputs=lambda cfg: list_fingerprint(cfg, cfg.data.val_list),
        complete=ladder_is_complete, skip=no_truth,
    ),
    Stage(
        "report", "measure against the truth of the validation list", make_report,
        reads=("report", "pseudo.threshold", "segment.scales", "segment.flip", "segment.max_side"), upstream=("ladder", "segment"),
        complete=report_is_complete, skip=no_truth, shows_result=False,
    ),
)  # fmt: skip
