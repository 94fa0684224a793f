"""Train IBBNet: images and image-level labels in, a segmentation network out.

    python train.py --config config.yaml                                  the demo, on generated images
    python train.py --config config.yaml --preset voc12 --set data.root=/data/VOC2012
    python train.py --config config.yaml --stages cam,seeds,context --set gfm.enabled=false --run runs/no_gfm

Every stage writes into the run folder. The same command again does only what is missing or stale, and goes on where a
stopped run was; Ctrl-C stops it. report.html in the run folder shows what is there, after each stage and while a network is
trained. The network trained last is put into checkpoints/best_model.pth.
"""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import argparse
import sys
from functools import partial
from pathlib import Path

from evaluation.report import climb_ladder, ladder_is_complete, make_report, no_truth, report_is_complete
from evaluation.report_page import keep_report_page, update_report_page
from stages.affinity import train_affinity
from stages.cam import train_classifier
from stages.choices import check_choices
from stages.context import learn_context, no_context, part_seeds, parted_complete
from stages.files import AFFINITY, CLASSIFIER, CONTEXT, IBB, REPORT_PAGE, SEGMENTER
from stages.ibb import fuse_seed_list, fused_complete, no_blur_training, train_on_blurred
from stages.lists import list_fingerprint, seed_list
from stages.pseudo import make_pseudo_masks, pseudo_complete
from stages.seeds import make_seeds, seeds_complete
from stages.segment import train_segmenter
from stages.walk import walk_complete, walk_reads, walk_seed_list
from utils.config import setting_names
from utils.config_file import load_config
from utils.console import add_console_options, setup_console
from utils.distributed import is_main, run_processes
from utils.files import is_whole, remove_leftovers
from utils.lock import lock_folder
from utils.pipeline import Stage, run_stages
from utils.run import Run

NETWORK = ("seed", "precision", "model")
IBB_TRAINING = ("enabled", "epochs", "threshold", "ignore_band", "blurred_share", "blurred_sigma", "weight")
METHOD = ("cam.scales", "cam.flip", "gfm", "prm", *setting_names("ibb", but=IBB_TRAINING[1:]), "seeds.max_side")
CAM_TRAINING = setting_names("cam", but=("scales", "flip"))  # those are of how its maps are read
AFFINITY_TRAINING = setting_names(
    "affinity",
    but=(
        "kind",
        "walk_radius",
        "beta",
        "exp_times",
        "walk_background",
        "feature_strides",
        "feature_power",
        "feature_steps",
        "feature_keep",
    ),
)
SEGMENTER_TRAINING = setting_names("segment", but=("from_ibb", "epochs", "scales", "flip"))


# The pipeline, in order: what each stage is called, what it does, which settings it reads and which stages it waits for.
STAGES = (
    Stage(
        "cam",
        "train the classifier on image-level labels",
        train_classifier,
        reads=(*NETWORK, *CAM_TRAINING),
        inputs=lambda cfg: list_fingerprint(cfg, cfg.data.train_list),
        complete=lambda cfg, run: is_whole(run.path(CLASSIFIER)),
        writes_checkpoint=CLASSIFIER,
    ),
    Stage(
        "seeds",
        "read the seed list with CAM, GFM, PRM and IBB",
        make_seeds,
        reads=METHOD,
        upstream=("cam",),
        inputs=lambda cfg: list_fingerprint(cfg, seed_list(cfg)),
        complete=seeds_complete,
    ),
    Stage(
        "context",
        "learn from the seeds what comes along with each class",
        learn_context,
        reads=("context", "seeds.max_side"),
        upstream=("seeds",),
        complete=lambda cfg, run: is_whole(run.path(CONTEXT)),
        skip=no_context,
        writes_checkpoint=CONTEXT,
    ),
    Stage(
        "part",
        "part the seeds from the context of their classes",
        part_seeds,
        reads=("context.enabled", "seeds.max_side"),
        upstream=("context",),
        complete=parted_complete,
        skip=no_context,
    ),
    Stage(
        "ibb",
        "train on the seeds with their background blurred",
        train_on_blurred,
        reads=(*NETWORK, *SEGMENTER_TRAINING, *(f"ibb.{name}" for name in IBB_TRAINING if name != "weight")),
        upstream=("part",),
        complete=lambda cfg, run: is_whole(run.path(IBB)),
        skip=no_blur_training,
        writes_checkpoint=IBB,
    ),
    Stage(
        "fuse",
        "let that network correct the seeds",
        fuse_seed_list,
        reads=("ibb.weight", "ibb.scales", "cam.flip", "segment.max_side"),
        upstream=("ibb",),
        complete=fused_complete,
        skip=no_blur_training,
    ),
    Stage(
        "affinity",
        "train the affinity network on confident seeds",
        train_affinity,
        reads=(*NETWORK, *AFFINITY_TRAINING),
        upstream=("fuse",),
        complete=lambda cfg, run: is_whole(run.path(AFFINITY)),
        skip=lambda cfg: None if cfg.affinity.kind == "learned" else f"affinity.kind is {cfg.affinity.kind}",
    ),
    Stage(
        "walk",
        "walk the seeds over pixel affinities",
        walk_seed_list,
        reads=walk_reads,
        upstream=("affinity",),
        complete=walk_complete,
        skip=lambda cfg: "affinity.kind is none" if cfg.affinity.kind == "none" else None,
    ),
    Stage(
        "pseudo",
        "turn seeds into pseudo masks",
        make_pseudo_masks,
        reads=("pseudo",),
        looks=("data.colors",),
        upstream=("walk",),
        complete=pseudo_complete,
    ),
    Stage(
        "segment",
        "train the segmentation network on the pseudo masks",
        train_segmenter,
        reads=(*NETWORK, "segment"),
        upstream=("pseudo",),
        complete=lambda cfg, run: is_whole(run.path(SEGMENTER)),
        writes_checkpoint=SEGMENTER,
    ),
    Stage(
        "ladder",
        "read the validation list with each module",
        climb_ladder,
        reads=(*METHOD, "seeds.class_threshold"),
        upstream=("context",),
        inputs=lambda cfg: list_fingerprint(cfg, cfg.data.val_list),
        complete=ladder_is_complete,
        skip=no_truth,
    ),
    Stage(
        "report",
        "measure against the truth of the validation list",
        make_report,
        reads=("report", "data.mask_values", "pseudo.threshold", "segment.scales", "segment.flip", "segment.max_side"),
        upstream=("ladder", "segment"),
        looks=("data.colors",),
        complete=report_is_complete,
        skip=no_truth,
        shows_result=False,
    ),
)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--config", default="config.yaml", metavar="FILE", help="settings and presets (default: config.yaml)"
    )
    parser.add_argument(
        "--preset", metavar="NAME", help="a named block of the file's presets, instead of the one the file names"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting, such as cam.epochs=3; may be repeated",
    )
    parser.add_argument(
        "--stages", default="", metavar="A,B", help=f"only these stages of: {', '.join(s.name for s in STAGES)}"
    )
    parser.add_argument("--run", metavar="FOLDER", help="the run folder (default: the setting `run`)")
    add_console_options(parser)
    return parser.parse_args()


def main() -> None:
    """The command."""
    args = parse_args()
    setup_console(args)
    overrides = args.set + ([f"run={args.run}"] if args.run else [])
    cfg = load_config(args.config, args.preset, overrides)
    check_choices(cfg)
    only = [name.strip() for name in args.stages.split(",") if name.strip()]
    with lock_folder(cfg.run, "--run"):
        if is_main():
            remove_leftovers(cfg.run)
            remove_leftovers(Path(cfg.checkpoint).parent, deep=False)
        run = Run(cfg, sys.argv)
        run.after_epoch = keep_report_page(STAGES, cfg, run)
        run_stages(STAGES, cfg, run, only, after=partial(update_report_page, STAGES))
        run.log(f"see {run.path(REPORT_PAGE)}")


if __name__ == "__main__":
    sys.exit(run_processes(main))
