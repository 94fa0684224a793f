"""Masks for images, folders of images and videos.

    python infer.py --input images/                            with the network that train.py made last
    python infer.py --input images/ --labels labels.csv        where the classes of the images are known
    python infer.py --input "shots/2024*.jpg" more/ --classes dog,cat
    python infer.py --input clip.mp4 --batch 8                   out/videos/clip.mp4: its frames under their masks
    python infer.py --input aerial.tif --tile 512                a very large image, read in tiles of 512 pixels
    python infer.py --input photo.jpg --model_path runs/demo/classifier.pth --output out/photo

In a notebook: `from infer import predict`, then `predict("photo.jpg")`.

Writes into --output: index.html (a gallery), contact_sheet.jpg, masks/ (palette PNG, 0 background), overlays/,
predictions.json (classes with scores and shares, unreadable files, settings) and classes.json (the class of each mask
value). The same command again does only what is missing: new or changed images, all of them after a change of settings
or of this project's code.
More: docs/masks.md.
"""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import argparse
import sys
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

from data.faults import counted
from data.pixels import limit_pixels, look_of
from exports.mask_sets import MaskFile, MaskSet, open_mask_set
from exports.masks import EXPORTED, FORMATS, check_formats, export_masks, parse_formats
from inference.bulk import Options, Summary, predict_images
from inference.images import MAPS, MASKS, InputImage, file_of, find_class, split_videos
from inference.loading import IMAGENET, load_predictor
from inference.output_folder import CLASSES, PREDICTIONS, ClassValues, claim
from inference.predictor import Predictor
from inference.result import Result, to_pixels, to_result
from inference.tiles import MOST_TILES
from inference.video import VideoSummary, predict_videos
from stages.config import Config, load_config
from utils.console import QUIET, add_console_options, say, setup_console
from utils.distributed import from_main, is_main, run_processes
from utils.errors import UserError
from utils.files import lock_folder, remove_leftovers

PHOTOGRAPHS = Path(__file__).parent / "checkpoints/voc12_compact.pth"  # a network of VOC's classes (its README.md)
SOME = 5  # unreadable files, or classes, on the screen; predictions.json has all


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    inputs = "images, folders, patterns such as 'shots/*.jpg' ('**' for any depth), videos"
    add("--input", required=True, nargs="+", metavar="PATH", help=inputs)
    depth = "search folders at any depth (the default), or only themselves"
    add("--recursive", action=argparse.BooleanOptionalAction, default=True, help=depth)
    add("--output", default="out", type=Path, metavar="FOLDER", help="the folder to write into (default: out)")
    default = f"(default: {Config().checkpoint}, or else checkpoints/{PHOTOGRAPHS.name})"
    checkpoint = f"a checkpoint, or '{IMAGENET}' for a classifier of 1,000 classes {default}"
    add("--model_path", metavar="FILE", help=checkpoint)
    labels = (
        "the classes of images: header image,labels with rows such as IMG_1.jpg,cat;dog, or header "
        "image,CLASS,CLASS,... with rows of 0 and 1; the network predicts those of images without a row"
    )
    add("--labels", type=Path, metavar="CSV", help=labels)
    add("--classes", default="", metavar="A,B", help="find only these classes")
    formats = f"{', '.join(FORMATS)} (see python -m exports.masks --help), or soft maps: {MAPS}/NAME.npz"
    add("--export", default="", metavar="A,B", help=f"also write the masks as {formats}")
    add("--limit", type=int, default=0, metavar="N", help="only the first N images, and N frames of a video")
    _add_network_options(parser)
    add_console_options(parser)
    return parser.parse_args()


def _add_network_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    batch = "images or frames given to a segmentation network at once, those of one size; pays on a GPU"
    add("--batch", type=int, default=1, metavar="N", help=batch)
    tile = (
        "read images longer than this in overlapping tiles of this side; let objects fill as much of a tile as of a "
        f"training image. For segmentation networks; at most {MOST_TILES} tiles an image (default: every image whole)"
    )
    add("--tile", type=int, default=0, metavar="PIXELS", help=tile)
    quality = "the setting infer.quality (default: normal); docs/masks.md has the time and the accuracy of each"
    add("--quality", choices=("fast", "normal", "best"), help=quality)
    add("--device", metavar="NAME", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    add("--config", metavar="FILE", help="settings to use in place of the checkpoint's own")
    add("--preset", metavar="NAME", help="a named block of presets in --config (default file: config.yaml)")
    setting = "one setting, such as pseudo.threshold=0.4, infer.refine=none, seeds.max_side=320; may be repeated"
    add("--set", action="append", default=[], metavar="KEY=VALUE", help=setting)


def main() -> None:
    """The command."""
    args = parse_args()
    setup_console(args)
    named = {"device": args.device, "infer.quality": args.quality}
    overrides = args.set + [f"{key}={value}" for key, value in named.items() if value]
    settings = load_config(args.config or "config.yaml", args.preset, overrides) if args.config or args.preset else None
    path = args.model_path or default_checkpoint(settings or Config())
    allowed = [name.strip() for name in args.classes.split(",") if name.strip()]
    if args.classes and not allowed:
        raise UserError(f"--classes {args.classes}: expected names, such as cat,dog; leave it out to find all classes")
    if args.limit < 0:
        raise UserError(f"--limit {args.limit}: expected a number of images, or 0 for all")
    if args.batch < 1:
        raise UserError(f"--batch {args.batch}: expected a number of images from 1 on; leave it out for one at a time")
    formats = parse_formats(args.export, (*FORMATS, MAPS)) if args.export else []
    exports = [name for name in formats if name != MAPS]
    videos, images = split_videos(args.input)
    if not images and (formats or args.labels):
        raise UserError("--export and --labels are for images, and --input names videos only; leave them out")
    predictor = load_predictor(path, overrides, settings=settings, allowed=allowed, tile=args.tile)
    say(network_line(predictor))
    claim(args.output, EXPORTED if exports else ())
    with lock_folder(args.output, "--output"):
        from_main(lambda: remove_leftovers(args.output))
        if images:
            check = partial(check_exports, exports, args.output)
            options = Options(args.labels, args.limit, MAPS in formats, args.recursive, args.batch, check)
            summary = predict_images(images, args.output, predictor, options)
            report(summary, predictor, args.output)
        if exports and is_main():
            say(export_masks(open_mask_set(args.output), exports, args.output))
        for video in predict_videos(videos, args.output, predictor, args.limit, args.batch):
            report_video(video)


def check_exports(formats: Sequence[str], output: Path, images: Sequence[InputImage], values: ClassValues) -> None:
    """Raise a `UserError` where the masks of these images could not be exported so."""
    masks = (MaskFile(image.name, output / file_of(image, MASKS), image.relative) for image in images)
    check_formats(MaskSet(dict(enumerate(values.names, start=1)), tuple(masks)), formats, output)


def predict(
    image: str | Path | Image.Image | np.ndarray,
    model_path: str | Path | None = None,
    *,
    labels: str | Sequence[str] | None = None,
    device: str = "auto",
    settings: str | Sequence[str] = (),
    tile: int = 0,
) -> Result:
    """The mask of one image, for programs and notebooks; the network is loaded once.

    Args:
        image: a path, an image of Pillow, or an array or a tensor with the values of a file: (H, W), (H, W, 3) RGB,
            (H, W, 4) RGBA, or more bands if `data.bands` names them. All are read by the rule of the network's own data
            (data.range, data.bands).
        model_path: a checkpoint, or `imagenet` for the packaged classifier; None takes the one that train.py made
            last, and where there is none that of VOC's classes.
        labels: names of the classes that it contains; None lets the network predict them.
        device: auto, cpu, cuda, cuda:1.
        settings: as `--set`, such as `["infer.refine=none"]`; and `tile` as `--tile`.

    Returns:
        With `mask` (H, W) uint8 and `classes`; a notebook draws it, `show()` does so anywhere, `save(path)` writes the
        mask. Mistakes are a `UserError`.
    """
    path = Path(model_path or default_checkpoint(Config()))
    networks = {path, *path.parent.glob("*.pth")}  # those of a classifier's steps lie beside it
    changed = tuple(sorted(file.stat().st_mtime_ns for file in networks if file.is_file()))
    lines = [settings] if isinstance(settings, str) else settings
    predictor = _predictor(str(path), changed, (*lines, f"device={device}"), tile)
    limit_pixels(predictor.cfg.data.max_pixels)
    pixels = to_pixels(image, predictor.pixels)
    if look := look_of(pixels):
        say(f"the image is {look} to the network; {range_note(predictor)}")
    names = [labels] if isinstance(labels, str) else labels
    known = None if names is None else [find_class(str(name), predictor.class_names, "labels") for name in names]
    return to_result(pixels, predictor.predict(pixels, known), predictor)


@lru_cache(maxsize=2)
def _predictor(path: str, changed: tuple[int, ...], overrides: tuple[str, ...], tile: int) -> Predictor:
    """A predictor, loaded anew when its file or one beside it has changed."""
    return load_predictor(path, overrides, tile=tile)


def default_checkpoint(cfg: Config) -> str:
    """The network that train.py made last, or else, with a message, the one that comes with the project."""
    if Path(cfg.checkpoint).is_file():
        return cfg.checkpoint
    say(
        f"no checkpoint at {cfg.checkpoint} and none named: using {PHOTOGRAPHS} (20 classes of photographs).\nFor your "
        "own classes train a network (python train.py --help) or name one (--model_path FILE)."
    )
    return str(PHOTOGRAPHS)


def network_line(predictor: Predictor) -> str:
    """Which network it is, because that of the demo, taken by default, gives useless masks of photographs."""
    names, about = predictor.class_names, predictor.about
    some = ", ".join(names[:SOME]) + (", ..." if len(names) > SOME else "")
    by = f", computed by {about['computed_by']}" if "computed_by" in about else ""
    source = about["path"] or "the packaged ImageNet weights"
    return f"{about['kind']} of {len(names)} classes ({some}) from {source}{by}"


def range_note(predictor: Predictor) -> str:
    """What to do if images are black, white or flat to the network."""
    if predictor.pixels.range == "auto":
        why = "if their files hold more than 8 bits"
    else:
        why = f"they are read with data.range={list(predictor.pixels.range)}; if their files have other values"
    return f"{why}, state their range with --set data.range=... (docs/data.md)"


def report(summary: Summary, predictor: Predictor, output: Path) -> None:
    """Print what was done."""
    each = f" ({summary.seconds / summary.new:.1f} s each on {predictor.compute.device})" if summary.new else ""
    kept = f", {summary.kept} done already" if summary.kept else ""
    images = "image" if summary.new == 1 else "images"
    say(f"{summary.new} {images} predicted{each}{kept}, {len(summary.unreadable)} unreadable")
    notes = [f"skipped {row['reason']}" for row in summary.unreadable[:SOME]]
    if len(summary.unreadable) > SOME:
        notes.append(f"and {len(summary.unreadable) - SOME} more, listed in {output / PREDICTIONS}")
    what = "images are black, white or flat to the network"
    notes += counted(output, what, summary.with_note("looks"), range_note(predictor))
    remedy = "masks are of the first image of each: save the others as files of their own"
    notes += counted(output, "files hold several images", summary.with_note("frames"), remedy)
    what = "masks hold at most 254 classes and more occur, so the pixels of these are 255"
    notes += counted(output, what, summary.without_value, "name the classes that matter with --classes")
    for note in notes:
        say(f"  {note}", QUIET)
    if summary.others:
        others = f"masks of {summary.others} images that are not part of this input"
        say(f"  {output} also holds {others}; {CLASSES} is not theirs if another network has made them")
    say(f"see {output / 'index.html'}, {output / 'contact_sheet.jpg'}, {output / 'masks'}")


def report_video(summary: VideoSummary) -> None:
    """Print the result of a video."""
    classes = ", ".join(f"{name} in {count}" for name, count in summary.classes[:SOME]) or "none of the classes"
    time = f"{summary.seconds / summary.frames:.2f} s each" if summary.seconds else "done already"
    say(f"{summary.path}: {summary.frames} frames ({time}); {classes}")


if __name__ == "__main__":
    sys.exit(run_processes(main))
