"""Measure a network, a folder of masks or a folder of seeds against the truth.

    python evaluate.py --model_path checkpoints/best_model.pth            on the data that it was trained for
    python evaluate.py --seeds runs/demo/seeds --split train              seeds, at every background threshold
    python evaluate.py --masks runs/demo/pseudo --split train --json pseudo.json

Which data: that of --config (with --preset and --set), else, for a network, what its checkpoint says, else config.yaml.
A network is measured twice: limited to the given image-level labels, and with the classes that it predicts itself.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from data.dataset import Index
from data.index import open_index
from stages.evaluation import Measurement, measure_masks, measure_seeds
from stages.networks import load_network
from stages.predictions import PREDICTED, RUNGS, ladder_complete, measure_ladder, measure_network
from stages.report import LADDER, ladder_table
from utils.checkpoint import load_checkpoint
from utils.config import Config, config_from_dict, load_config, override
from utils.errors import UserError, run_script
from utils.files import write_json

DEFAULT_CONFIG = "config.yaml"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--model_path", metavar="FILE", help="a checkpoint that train.py wrote: segmentation network or classifier"
    )
    what.add_argument("--seeds", metavar="FOLDER", help="seed files ID.npz")
    what.add_argument("--masks", metavar="FOLDER", help="mask files ID.png, 255 counts as background")
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
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = find_config(args)
    list_name = {"val": cfg.data.val_list, "train": cfg.data.train_list}.get(args.split, args.split)
    if not list_name:
        raise UserError(f"--split {args.split}: the settings name no such list; give a list's name or file")
    index = open_index(cfg.data, list_name, masks=True)
    said = {"list": list_name, "root": cfg.data.root}
    if args.seeds:
        measured = {
            "": measure_seeds(index, Path(args.seeds), cfg.pseudo.threshold, cfg.report.thresholds, cfg.workers, **said)
        }
    elif args.masks:
        measured = {"": measure_masks(index, Path(args.masks), cfg.workers, **said)}
    else:
        network, checkpoint, own = load_network(args.model_path)
        if checkpoint.class_names != index.class_names:
            raise UserError(
                f"{args.model_path} knows other classes than the data: {', '.join(checkpoint.class_names)} and {', '.join(index.class_names)}"
            )
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(args.output or scratch)
            said |= {"path": args.model_path, "backbone": checkpoint.backbone, "weights": cfg.model.weights}
            measured = measure_network(network, index, folder, cfg, **said)
            measured |= measure_seeds_beside(Path(own.run) / LADDER, checkpoint.kind, index, cfg, list=list_name)
    for title, measurement in measured.items():
        print(f"\n{title}" if title else "", measurement.table(), sep="\n")
    if len(measured) > 1:
        print()
        print(ladder_table(measured, list_name))
    if args.json:
        figures = {title: measurement.figures() for title, measurement in measured.items()}
        first, *others = figures
        write_json(args.json, figures[first] | {title: figures[title] for title in others})


def measure_seeds_beside(folder: Path, kind: str, index: Index, cfg: Config, **said: str) -> dict[str, Measurement]:
    """The seeds that a segmentation network was trained from, where its run folder still has them for this list."""
    if kind != "segmenter" or not ladder_complete(index, folder):
        return {}
    rungs = measure_ladder(index, folder, cfg, **said)
    return {"its seeds, predicted labels": rungs[PREDICTED], "its seeds, given labels": rungs[RUNGS[-1]]}


def find_config(args: argparse.Namespace) -> Config:
    """The settings to measure with: a file's, or a checkpoint's own."""
    if args.config or not args.model_path:
        return load_config(args.config or DEFAULT_CONFIG, args.preset, args.set)
    if args.preset:
        return load_config(DEFAULT_CONFIG, args.preset, args.set)
    own = config_from_dict(load_checkpoint(args.model_path).config, args.model_path)
    return override(own, args.set)


if __name__ == "__main__":
    sys.exit(run_script(main))
