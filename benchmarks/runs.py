"""train.py of another checkout and of this one, by turns on the same images: python -m benchmarks.runs CHECKOUT

    python -m benchmarks.runs ../older --data VOC_SUBSET --images 48 --set read_precision=auto

Preset voc12_compact on a short training list, from the classifier to the segmentation network, without the report. The
seconds of a stage are those that a run notes down (`stages.json`), medians of the turns.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.common import HERE, call, set_all
from data.inspection import spread
from utils.errors import run_script, script_parser

TRAIN_LIST = "ImageSets/Segmentation/train.txt"
OLD_NAMES = {"part": "remove", "fuse": "correct"}  # stages that had other names


def main() -> None:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("other", type=Path, metavar="CHECKOUT", help="another checkout, whose train.py is compared with this one's")
    add("--data", type=Path, required=True, metavar="ROOT", help="images and labels in VOC's layout")
    add("--images", type=int, default=48, metavar="N", help="of the training list (default: 48)")
    add("--turns", type=int, default=2, metavar="N", help="(default: 2)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of this checkout only")
    with tempfile.TemporaryDirectory() as name:
        compare_training(parser.parse_args(), Path(name))


def compare_training(args: argparse.Namespace, folder: Path) -> None:
    names = spread((args.data / TRAIN_LIST).read_text(encoding="utf-8").split(), args.images)
    (folder / "list.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    data = (f"data.root={args.data.resolve()}", f"data.train_list={folder / 'list.txt'}")
    found: list[dict[str, list[float]]] = [{}, {}]  # of the other and this: stage, or `whole` -> seconds of each turn
    for turn in range(args.turns):
        for position, (checkout, own) in enumerate(((args.other, []), (HERE, args.set))):
            run = folder / f"run{position}.{turn}"
            settings = (*data, f"run={run}", f"checkpoint={run}.pth", "report.enabled=false", *own)
            words = ["--config", "config.yaml", "--preset", "voc12_compact", *set_all(settings)]
            whole, _ = call(checkout, "train.py", words)
            stages = json.loads((run / "stages.json").read_text(encoding="utf-8"))
            seconds = {OLD_NAMES.get(name, name): entry["seconds"] for name, entry in stages.items()}
            for stage, value in (seconds | {"whole": whole}).items():
                found[position].setdefault(stage, []).append(value)
    print(f"{len(names)} images, {args.turns} turns; seconds, medians of the turns")
    print(f"{'stage':12}{'the other':>12}{'this':>12}{'times':>8}")
    for stage in found[1]:
        if stage in found[0]:
            other, this = (statistics.median(seconds[stage]) for seconds in found)
            print(f"{stage:12}{other:12.1f}{this:12.1f}{other / max(this, 0.1):8.2f}")


if __name__ == "__main__":
    sys.exit(run_script(main))
