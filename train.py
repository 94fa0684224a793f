"""Train IBBNet: images and image-level labels in, a segmentation network out.

    python train.py --config config.yaml                                  the demo, on generated images
    python train.py --config config.yaml --preset voc12 --set data.root=/data/VOC2012
    python train.py --config config.yaml --stages cam,seeds,context --set gfm.enabled=false --run runs/no_gfm

Every stage writes into the run folder. The same command again does only what is missing or stale, and goes on where a
stopped run was; Ctrl-C stops it. report.html in the run folder shows what is there, after each stage and while a
network is trained. The network trained last is put into checkpoints/best_model.pth.
"""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import argparse
import contextlib
import os
import sys
from functools import partial
from itertools import count
from pathlib import Path

from data.hints import open_hints
from evaluation.predictions import check_validation
from evaluation.report_page import keep_report_page, update_report_page
from evaluation.stages import pipeline
from stages.config import Config, check_choices, load_config, load_fitting_config, resolve_choices
from stages.files import REPORT_PAGE, seed_index
from utils.config_file import add_setting_options
from utils.console import add_console_options, setup_console
from utils.distributed import from_main, is_main, run_processes
from utils.errors import UserError
from utils.files import digest, lock_folder, remove_leftovers, writing
from utils.pipeline import Stage, run_stages
from utils.run import RUN_SETTINGS, Run


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, stages = parser.add_argument, ", ".join(stage.name for stage in pipeline())
    add_setting_options(parser)
    add("--stages", default="", metavar="A,B", help=f"only these stages of: {stages}")
    redo = "make these stages again though they are up to date; 'changed' stands for those whose code has changed"
    add("--redo", default="", metavar="A,B", help=redo)
    add("--run", metavar="FOLDER", help="the run folder (default: the setting `run`)")
    add_console_options(parser)
    return parser.parse_args()


def main() -> None:
    """The command."""
    args = parse_args()
    setup_console(args)
    overrides = args.set + ([f"run={args.run}"] if args.run else [])
    cfg, recipe = load_fitting_config(args.config, args.preset, overrides)
    check_choices(cfg)
    if cfg.data.hints:  # those that cannot be read are told before any work
        open_hints(cfg.data, seed_index(cfg))
    cfg, choice = resolve_choices(cfg)
    stages = pipeline()
    only, redo = ([name.strip() for name in given.split(",") if name.strip()] for given in (args.stages, args.redo))
    if not only or "segment" in only:  # told before the stages that take hours
        from_main(lambda: check_validation(cfg))
    aside = ""
    if not any(line.startswith("run=") for line in overrides) and (not only or "cam" in only):
        aside = from_main(lambda: set_aside(cfg, stages[0]))
    with lock_folder(cfg.run, "--run"):
        if is_main():
            remove_leftovers(cfg.run)
            remove_leftovers(Path(cfg.checkpoint).parent, deep=False)
        run = Run(cfg, sys.argv)
        for line in (aside, recipe and f"data      {recipe}", choice):
            if line:
                run.log(line)
        run.after_epoch = keep_report_page(stages, cfg, run)
        run_stages(stages, cfg, run, only, redo, after=partial(update_report_page, stages))
        run.log(f"see {run.path(REPORT_PAGE)}")


def set_aside(cfg: Config, cam: Stage) -> str:
    """Rename a run of another data folder, where the run folder was not named; a line for the log, if any."""
    path, before = Path(cfg.run, RUN_SETTINGS), cfg
    if not path.is_file() or not (data := Run.reopen(cfg.run).stages.get("cam", {}).get("data")):
        return ""
    with contextlib.suppress(UserError):  # settings of another version
        before = load_config(path)
    # The copy of a run is there to be changed.
    is_other = os.path.abspath(before.data.root) != os.path.abspath(cfg.data.root)
    if before.run != cfg.run or not is_other or digest(cam.inputs(cfg)) == data:
        return ""
    kept = next(name for number in count(1) if not os.path.lexists(name := f"{cfg.run}-{number}"))
    with lock_folder(cfg.run, "--run"), writing(kept):  # not while another process writes there
        os.rename(cfg.run, kept)
    return f"data      {cfg.run} was the run of {before.data.root}, which has other images or labels: kept as {kept}"


if __name__ == "__main__":
    sys.exit(run_processes(main))
