"""Masks for a picture or a folder of pictures.

    python infer.py --input pictures/                            with the network that train.py made last
    python infer.py --input pictures/ --labels labels.csv        where it is known what the pictures contain
    python infer.py --input photo.jpg --model_path runs/demo/classifier.pth --output out/photo

Takes a segmentation network or a classifier. If no checkpoint is named and there is none in checkpoints/, it uses a packaged
ImageNet classifier, so it works without any training, on what ImageNet's 1,000 classes know.

Writes into --output: index.html (a gallery, opens without a network), contact_sheet.jpg, masks/ (palette PNG, 0 background),
overlays/, predictions.json (classes with scores and shares, unreadable files, settings) and classes.json (what the mask values
mean). The same command again does only what is missing: new or changed pictures, all of them after a change of settings.
"""

import argparse
import sys
from pathlib import Path

from stages.bulk import Summary, predict_pictures
from stages.exports import FORMATS, export_masks, parse_formats, said
from stages.inference import Predictor, load_predictor
from stages.mask_sets import open_mask_set
from stages.output_folder import MAPS
from utils.config import Config, load_config
from utils.errors import UserError, run_script

IMAGENET_NAME = "imagenet"  # --model_path of the packaged classifier
SHOWN = 5  # unreadable files on the screen; predictions.json has all


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--input", required=True, type=Path, metavar="PATH", help="a picture, or a folder (searched at any depth)"
    )
    parser.add_argument(
        "--output", default="out", type=Path, metavar="FOLDER", help="where everything goes (default: out)"
    )
    parser.add_argument(
        "--model_path",
        metavar="FILE",
        help=f"a checkpoint, or '{IMAGENET_NAME}' for the packaged classifier (default: {Config().checkpoint} if it is there)",
    )
    parser.add_argument(
        "--labels", type=Path, metavar="CSV",
        help="what pictures contain: header image,labels with rows such as IMG_1.jpg,cat;dog, or header image,CLASS,CLASS,... "
        "with rows of 0 and 1; for pictures without a row the network says",
    )  # fmt: skip
    parser.add_argument("--classes", default="", metavar="A,B", help="find only these classes")
    parser.add_argument(
        "--export", default="", metavar="A,B",
        help=f"also write the masks as {', '.join(FORMATS)} (see python -m stages.exports --help), or soft maps: {MAPS}/NAME.npz",
    )  # fmt: skip
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="only the first N pictures")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    parser.add_argument("--config", metavar="FILE", help="settings to use in place of the checkpoint's own")
    parser.add_argument(
        "--preset", metavar="NAME", help="a named block of presets in --config (default file: config.yaml)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="one setting, such as pseudo.threshold=0.4, pseudo.refine=none, seeds.max_side=320; may be repeated",
    )  # fmt: skip
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    overrides = args.set + ([f"device={args.device}"] if args.device else [])
    settings = load_config(args.config or "config.yaml", args.preset, overrides) if args.config or args.preset else None
    path = args.model_path or default_checkpoint(settings or Config())
    path = None if path == IMAGENET_NAME else path
    allowed = [name.strip() for name in args.classes.split(",") if name.strip()]
    if args.limit < 0:
        raise UserError(f"--limit {args.limit}: expected a number of pictures, or 0 for all")
    formats = parse_formats(args.export, (*FORMATS, MAPS)) if args.export else []
    predictor = load_predictor(path, overrides, settings=settings, allowed=allowed)
    summary = predict_pictures(args.input, args.output, predictor, args.labels, args.limit, maps=MAPS in formats)
    report(summary, predictor, args.output)
    if masks_in := [name for name in formats if name != MAPS]:
        print(said(export_masks(open_mask_set(args.output), masks_in, args.output)))


def default_checkpoint(cfg: Config) -> str:
    """The network that train.py made last, or else the packaged one, which is said."""
    if Path(cfg.checkpoint).is_file():
        return cfg.checkpoint
    print(f"no checkpoint at {cfg.checkpoint} and none named: using the packaged ImageNet classifier (EfficientNet-Lite0, 1,000 "
          "classes).\nFor your own classes train a network (python train.py --help) or name one (--model_path FILE).")  # fmt: skip
    return IMAGENET_NAME


def report(summary: Summary, predictor: Predictor, output: Path) -> None:
    """What was done, on the screen."""
    each = f" ({summary.seconds / summary.new:.1f} s each on {predictor.compute.device})" if summary.new else ""
    kept = f", {summary.kept} done already" if summary.kept else ""
    print(f"{summary.new} pictures predicted{each}{kept}, {len(summary.unreadable)} unreadable")
    for row in summary.unreadable[:SHOWN]:
        print(f"  skipped {row['reason']}")
    if len(summary.unreadable) > SHOWN:
        print(f"  and {len(summary.unreadable) - SHOWN} more, listed in {output / 'predictions.json'}")
    if summary.without_value:
        print(f"  masks hold 254 classes and more occur: pixels of {len(summary.without_value)} classes are 255, listed with "
              f"that value in {output / 'predictions.json'}; name the classes that matter with --classes")  # fmt: skip
    if summary.others:
        print(f"  {output} also holds masks of {summary.others} pictures that are not part of this input")
    print(f"see {output / 'index.html'}, {output / 'contact_sheet.jpg'}, {output / 'masks'}")


if __name__ == "__main__":
    sys.exit(run_script(main))
