"""Evaluate a network, a folder of masks or a folder of seeds against the truth.

    python evaluate.py --model_path checkpoints/best_model.pth            on the data that it was trained for
    python evaluate.py --seeds runs/demo/seeds --split train              seeds, at every background threshold
    python evaluate.py --masks runs/demo/pseudo --split train --json pseudo.json
    python evaluate.py --run runs/voc12 --csv figures.csv                 seeds, pseudo masks, segmenter, as in papers
    python evaluate.py --compare runs/demo/ablation/given/cam runs/demo/ablation/given/ibb    is the second better?

Which data: that of --config (with --preset and --set), else that of the checkpoint or the run folder, else config.yaml.
A network is evaluated twice: limited to the given image-level labels, and with the classes that it predicts itself.
The masks are those that infer.py draws; --set infer.quality=best --set infer.refine=none: several sizes, not refined.
A classifier is evaluated with every step that its run has; --set infer.quality=fast leaves the slow ones out.
Mean and deviation of several runs: python -m evaluation.gather --help
"""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import argparse
import contextlib
import sys
from functools import partial
from pathlib import Path
from typing import Any

from data.dataset import Index
from data.index import open_index
from evaluation.comparison import check_classes, compare, comparison_table
from evaluation.protocol import about_folder, about_list, evaluate_network, evaluate_run, protocol_table, write_csv
from evaluation.scores import Evaluation, evaluate_masks, evaluate_seeds
from evaluation.stages import pipeline
from evaluation.truth import check_predictions, warn_of_trained
from stages.config import Config, config_from_dict, load_config, override
from stages.networks import load_network
from stages.threshold import with_found_threshold
from utils.checkpoint import load_checkpoint
from utils.console import add_console_options, setup_console
from utils.distributed import from_main, is_main, run_processes, scratch_folder
from utils.errors import UserError
from utils.files import require_writable, write_json
from utils.run import RUN_SETTINGS, run_of

DEFAULT_CONFIG = "config.yaml"


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    add = what.add_argument
    add("--model_path", metavar="FILE", help="a checkpoint that train.py wrote: segmentation network or classifier")
    add("--seeds", metavar="FOLDER", help="seed files ID.npz")
    add("--masks", metavar="FOLDER", help="mask files ID.png, 255 counts as background")
    of_run = "a run: seeds and pseudo masks on the list they are published on (VOC: train), segmentation on val"
    add("--run", metavar="FOLDER", help=of_run)
    difference = "two folders of masks or seeds, or checkpoints: the difference, with its interval over images"
    add("--compare", nargs=2, metavar=("A", "B"), help=difference)
    add = parser.add_argument
    add("--config", metavar="FILE", help="settings; runs/NAME/config.yaml gives those of a run")
    add("--preset", metavar="NAME", help="a named block of the file's presets")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting; may be repeated")
    split = "val, train (those of the settings), or a list's name or file (default: val)"
    add("--split", metavar="LIST", help=split)
    add("--output", metavar="FOLDER", help="keep what --model_path predicts here")
    add("--json", metavar="FILE", help="also write the figures as JSON")
    add("--csv", metavar="FILE", help="also write the figures as a table, a line for each evaluation")
    add_console_options(parser)
    return parser.parse_args()


def main() -> None:
    """The command."""
    args = parse_args()
    setup_console(args)
    check_options(args)
    cfg = find_config(args)
    if args.compare:
        index, about = open_list(args, cfg)
        settings = cfg, find_config(args, 1) if Path(args.compare[1]).is_file() else cfg
        figures = compare(index, args.compare, settings, **about)
        if is_main():
            print("", comparison_table(figures), sep="\n")
            if args.json:
                write_json(args.json, figures)
        return
    evaluations = evaluate_run(Path(args.run), cfg, pipeline()) if args.run else evaluate(args, cfg)
    if is_main():
        report(args, evaluations)


def check_options(args: argparse.Namespace) -> None:
    """A `UserError` for an option that would change nothing."""
    for name in ("seeds", "masks", "run"):
        if (folder := getattr(args, name)) and not Path(folder).is_dir():
            raise UserError(f"--{name} {folder}: there is no such folder; check the path")
    reasons = {
        "--csv is a table of evaluations, and a comparison goes into --json": args.csv and args.compare,
        "--output keeps what --model_path predicts, and there is no --model_path": args.output and not args.model_path,
        "--split is not for --run, which takes the lists of papers (data.val_list: another one)": args.split
        and args.run,
    }
    for reason in (reason for reason, applies in reasons.items() if applies):
        raise UserError(f"{reason}; leave out {reason.split()[0]}")
    for path in filter(None, (args.json, args.csv)):
        from_main(partial(require_writable, path))


def report(args: argparse.Namespace, evaluations: dict[str, Evaluation]) -> None:
    """Print the figures, and write the files of --json and --csv."""
    for title, evaluation in evaluations.items():
        print(f"\n{title}" if title else "", evaluation.table(), sep="\n")
    if len(evaluations) > 1:
        print("", protocol_table(evaluations), sep="\n")
    figures = {title: evaluation.figures() for title, evaluation in evaluations.items()}
    if args.json:
        first, *others = figures
        write_json(args.json, figures[first] | {title: figures[title] for title in others})
    if args.csv:
        write_csv(args.csv, figures)


def open_list(args: argparse.Namespace, cfg: Config) -> tuple[Index, dict[str, Any]]:
    """The images of --split with their truth, and what to state of them."""
    split = args.split or "val"
    list_name = {"val": cfg.data.val_list, "train": cfg.data.train_list}.get(split, split)
    if not list_name:
        remedy = f"set it, such as --set data.{split}_list={split}, or give another list"
        raise UserError(f"--split {split}: data.{split}_list is empty; {remedy}")
    index = open_index(cfg.data, list_name, masks=True)
    return index, about_list(cfg, list_name, len(index))


def evaluate(args: argparse.Namespace, cfg: Config) -> dict[str, Evaluation]:
    """The evaluations of --seeds, --masks or --model_path, by title."""
    index, about = open_list(args, cfg)
    if args.seeds:
        folder = Path(args.seeds)
        about |= about_folder(folder, pipeline())
        cfg = with_found_threshold(cfg, run_of(folder))
        return {"": evaluate_seeds(index, folder, cfg.pseudo.threshold, cfg.report.thresholds, cfg.workers, **about)}
    if args.masks:
        folder = Path(args.masks)
        check_predictions(index, folder, cfg.workers)
        return {"": evaluate_masks(index, folder, cfg.workers, **about, **about_folder(folder, pipeline()))}
    network, checkpoint = load_network(args.model_path)
    own = config_from_dict(checkpoint.config, str(args.model_path))
    check_classes(args.model_path, checkpoint.class_names, index)
    about |= {"path": args.model_path, "backbone": checkpoint.backbone, "weights": own.model.weights}
    if about["list"] != own.data.train_list:
        with contextlib.suppress(UserError):  # what it was trained on may lie elsewhere
            from_main(lambda: warn_of_trained(own.changed("data", val_list=about["list"], download=False), index))
    with scratch_folder() as scratch:
        return evaluate_network(network, Path(args.model_path), index, Path(args.output or scratch), cfg, about)


def find_config(args: argparse.Namespace, side: int = 0) -> Config:
    """The settings to evaluate with: a file's, or those of the run or the checkpoint; `side`: which of --compare."""
    # As in infer.py, where both refine the masks of a network.
    overrides = [line.replace("pseudo.refine=", "infer.refine=", 1) for line in args.set]
    if args.config or args.preset:
        return load_config(args.config or DEFAULT_CONFIG, args.preset, overrides)
    source = Path(args.run or args.seeds or args.masks or args.model_path or args.compare[side])
    if args.model_path or source.is_file():
        return override(config_from_dict(load_checkpoint(source).config, str(source)), overrides)
    run = run_of(source)
    return load_config(run / RUN_SETTINGS if run else DEFAULT_CONFIG, overrides=overrides)


if __name__ == "__main__":
    sys.exit(run_processes(main))
