"""Measure a network, a folder of masks or a folder of seeds against the truth.

    python evaluate.py --model_path checkpoints/best_model.pth            on the data that it was trained for
    python evaluate.py --seeds runs/demo/seeds --split train              seeds, at every background threshold
    python evaluate.py --masks runs/demo/pseudo --split train --json pseudo.json
    python evaluate.py --run runs/voc12 --csv figures.csv                 seeds, pseudo masks, segmentation: a paper's table
    python evaluate.py --compare runs/demo/ablation/given/cam runs/demo/ablation/given/ibb    is the second better?

Which data: that of --config (with --preset and --set), else what the checkpoint or the run folder says, else config.yaml.
A network is measured twice: limited to the given image-level labels, and with the classes that it predicts itself.
Several runs to mean and deviation: python -m evaluation.gather --help
"""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import argparse
import sys
from pathlib import Path
from typing import Any

from data.dataset import Index
from data.index import open_index
from evaluation.comparison import compare
from evaluation.figures import Evaluation
from evaluation.networks import evaluate_network
from evaluation.protocol import measure_run, protocol_table, said_of_folder, said_of_list, write_csv
from evaluation.scores import evaluate_masks, evaluate_seeds
from stages.config import Config, config_from_dict, load_config, override
from stages.networks import load_network
from utils.checkpoint import load_checkpoint
from utils.console import add_console_options, setup_console
from utils.distributed import is_main, run_processes, scratch_folder
from utils.errors import UserError
from utils.files import write_json
from utils.run import RUN_SETTINGS, run_of

DEFAULT_CONFIG = "config.yaml"


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--model_path", metavar="FILE", help="a checkpoint that train.py wrote: segmentation network or classifier"
    )
    what.add_argument("--seeds", metavar="FOLDER", help="seed files ID.npz")
    what.add_argument("--masks", metavar="FOLDER", help="mask files ID.png, 255 counts as background")
    what.add_argument(
        "--run",
        metavar="FOLDER",
        help="a run: seeds and pseudo masks on the list they are published on (VOC: train), segmentation on val",
    )
    what.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="two folders of masks or seeds, or checkpoints: the difference, with its interval over images",
    )
    parser.add_argument("--config", metavar="FILE", help="settings; runs/NAME/config.yaml gives those of a run")
    parser.add_argument("--preset", metavar="NAME", help="a named block of the file's presets")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting; may be repeated")
    parser.add_argument(
        "--split",
        default="val",
        metavar="LIST",
        help="val, train (those of the settings), or a list's name or file (default: val)",
    )
    parser.add_argument("--output", metavar="FOLDER", help="keep what --model_path predicts here")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--csv", metavar="FILE", help="also write the figures as a table, one line a evaluation")
    add_console_options(parser)
    return parser.parse_args()


def main() -> None:
    """The command."""
    args = parse_args()
    setup_console(args)
    cfg = find_config(args)
    if args.compare and args.csv:
        raise UserError("--csv is a table of evaluations; a comparison goes into --json")
    if args.compare:
        index, said = open_list(args, cfg)
        first, second = args.compare
        comparison = compare(index, first, second, cfg, **said)
        if is_main():
            print("", comparison.table(), sep="\n")
        if args.json and is_main():
            write_json(args.json, comparison.figures())
        return
    measured = measure_run(Path(args.run), cfg) if args.run else measure(args, cfg)
    if is_main():
        tell(args, measured)


def tell(args: argparse.Namespace, measured: dict[str, Evaluation]) -> None:
    """Print the figures, and write them where --json and --csv say."""
    for title, evaluation in measured.items():
        print(f"\n{title}" if title else "", evaluation.table(), sep="\n")
    if len(measured) > 1:
        print("", protocol_table(measured), sep="\n")
    figures = {title: evaluation.figures() for title, evaluation in measured.items()}
    if args.json:
        first, *others = figures
        write_json(args.json, figures[first] | {title: figures[title] for title in others})
    if args.csv:
        write_csv(args.csv, [{"measured": title or row["evaluated"]["kind"]} | row for title, row in figures.items()])


def open_list(args: argparse.Namespace, cfg: Config) -> tuple[Index, dict[str, Any]]:
    """The images of --split with their truth, and what to state of them."""
    list_name = {"val": cfg.data.val_list, "train": cfg.data.train_list}.get(args.split, args.split)
    if not list_name:
        raise UserError(f"--split {args.split}: the settings name no such list; give a list's name or file")
    index = open_index(cfg.data, list_name, masks=True)
    return index, said_of_list(cfg, list_name, len(index))


def measure(args: argparse.Namespace, cfg: Config) -> dict[str, Evaluation]:
    """What --seeds, --masks or --model_path names, by title."""
    index, said = open_list(args, cfg)
    if args.seeds:
        folder = Path(args.seeds)
        said |= said_of_folder(folder)
        return {"": evaluate_seeds(index, folder, cfg.pseudo.threshold, cfg.report.thresholds, cfg.workers, **said)}
    if args.masks:
        folder = Path(args.masks)
        of_masks = evaluate_masks(index, folder, cfg.workers, **said, **said_of_folder(folder))
        if run_of(folder) is None:  # masks of a run are known to mean 'ignore' by 255
            refuse_only_ignored(of_masks, folder)
        return {"": of_masks}
    network, checkpoint, own = load_network(args.model_path)
    if checkpoint.class_names != index.class_names:
        raise UserError(
            f"{args.model_path} knows other classes than the data: {', '.join(checkpoint.class_names)} and {', '.join(index.class_names)}; "
            "name the data that it was trained for with --config, --preset or --set data.root=..."
        )
    said |= {"path": args.model_path, "backbone": checkpoint.backbone, "weights": own.model.weights}
    with scratch_folder() as scratch:
        return evaluate_network(network, Path(args.model_path), index, Path(args.output or scratch), cfg, said)


def refuse_only_ignored(found: Evaluation, folder: Path) -> None:
    """A `UserError` for predictions of another program that hold 0 and 255 and no class."""
    if found.matrix.ignored_predictions and not found.matrix.counts[:, 1:].any():
        raise UserError(
            f"--masks {folder}: its masks hold 0 and 255 and no class; 255 means 'ignore' and counts as background, so "
            f"this would evaluate nothing; write class values 0..{len(found.class_names)} instead (0 background, "
            f"1 {found.class_names[0]})"
        )


def find_config(args: argparse.Namespace) -> Config:
    """The settings to measure with: a file's, or those of the run or the checkpoint that is measured."""
    if args.config or args.preset:
        return load_config(args.config or DEFAULT_CONFIG, args.preset, args.set)
    source = Path(args.run or args.seeds or args.masks or args.model_path or args.compare[0])
    if args.model_path or source.is_file():
        return override(config_from_dict(load_checkpoint(source).config, str(source)), args.set)
    run = run_of(source)
    return load_config(run / RUN_SETTINGS if run else DEFAULT_CONFIG, overrides=args.set)


if __name__ == "__main__":
    sys.exit(run_processes(main))
