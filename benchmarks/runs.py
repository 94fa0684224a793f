"""train.py of two checkouts, by turns on the same images: python -m benchmarks.runs CHECKOUT --data ROOT

    python -m benchmarks.runs ../older --data VOC_SUBSET --images 48 --set read_precision=auto

The preset and its epochs are what they are; only the list is short, so that each stage takes its part of the time of a
whole run. A turn runs both programs from the classifier to the segmentation network, without the report. The seconds of
a stage are those that a run notes down (`stages.json`); medians of the turns.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.against import HERE, busy_cores
from benchmarks.common import parser_of, scratch_folder
from utils.errors import UserError, run_script

LISTS = Path("ImageSets/Segmentation")
SHARED = ("JPEGImages", "SegmentationClass", "image_labels.csv", "Annotations", "cls_labels.npy")
OLD_NAMES = {"part": "remove", "fuse": "correct"}  # stages that had other names
Seconds = dict[str, list[float]]  # stage, or `whole` -> seconds of each turn


def short_data(root: Path, images: int, folder: Path) -> Path:
    """The data with a training list of so many images, evenly taken from the whole one; no copies of images."""
    whole = (root / LISTS / "train.txt").read_text(encoding="utf-8").split()
    if len(whole) < images:
        raise UserError(f"--images {images}: {root / LISTS / 'train.txt'} has {len(whole)}; give at most so many")
    (folder / LISTS).mkdir(parents=True)
    names = [whole[index * len(whole) // images] for index in range(images)]
    (folder / LISTS / "train.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    for name in SHARED:
        if (root / name).exists():
            (folder / name).symlink_to((root / name).resolve())
    return folder


def run(checkout: Path, run_folder: Path, settings: list[str]) -> dict[str, float]:
    """Train once; stage -> seconds, and `whole`, with the start."""
    settings = [*settings, f"run={run_folder}", f"checkpoint={run_folder}.pth", "report.enabled=false"]
    command = [sys.executable, "train.py", "--config", "config.yaml", "--preset", "voc12_compact"]
    command += [word for setting in settings for word in ("--set", setting)]
    started = time.perf_counter()
    ended = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise UserError(f"{checkout / 'train.py'} ended with {ended.returncode}: {ended.stderr.strip()[-400:]}")
    whole = time.perf_counter() - started
    stages = json.loads((run_folder / "stages.json").read_text(encoding="utf-8"))
    return {OLD_NAMES.get(name, name): entry["seconds"] for name, entry in stages.items()} | {"whole": whole}


def main() -> None:
    """The command."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("other", type=Path, metavar="CHECKOUT", help="another checkout, whose train.py is compared with this one's")
    add("--data", type=Path, required=True, metavar="ROOT", help="images and labels in VOC's layout")
    add("--images", type=int, default=48, metavar="N", help="of the training list (default: 48)")
    add("--turns", type=int, default=2, metavar="N", help="(default: 2)")
    add("--busy", type=int, default=0, metavar="N", help="cores kept busy meanwhile (default: 0)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of this checkout only")
    args = parser.parse_args()
    found: tuple[Seconds, Seconds] = ({}, {})
    with scratch_folder() as name, busy_cores(args.busy):
        data = short_data(args.data, args.images, Path(name) / "data")
        for turn in range(args.turns):
            for seconds, checkout, own in zip(found, (args.other, HERE), ([], args.set), strict=True):
                folder = Path(name) / f"{checkout.resolve().name}{turn}"
                for stage, value in run(checkout.resolve(), folder, [f"data.root={data}", *own]).items():
                    seconds.setdefault(stage, []).append(value)
    print(f"{args.images} images, {args.turns} turns, {args.busy} busy cores; seconds, medians of the turns")
    print(f"{'stage':12}{'the other':>12}{'this':>12}{'times':>8}")
    for stage in found[1]:
        if stage in found[0]:
            other, own = (statistics.median(seconds[stage]) for seconds in found)
            print(f"{stage:12}{other:12.1f}{own:12.1f}{other / max(own, 0.1):8.2f}")


if __name__ == "__main__":
    sys.exit(run_script(main))
