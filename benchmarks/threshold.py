"""The threshold that is found without truth, beside the best one. This reads truth masks; training never does.

python -m benchmarks.threshold runs/demo --list train
python -m benchmarks.threshold runs/voc12_compact --list train_official --seeds seeds_walk
"""

import sys
from pathlib import Path

from data.index import open_index
from evaluation.scores import evaluate_seeds
from stages.config import load_config
from stages.dataset_steps import DATASET_STEPS, last_seeds
from stages.threshold import find_threshold
from utils.errors import UserError, run_script, script_parser
from utils.run import RUN_SETTINGS


def main() -> None:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("run", metavar="RUN", help="a run folder with seeds")
    add("--list", default="", metavar="LIST", help="of images that have masks (default: the seed list)")
    add("--seeds", default="", metavar="NAME", help="folder of seeds in the run (default: the last ones)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, such as data.root")
    args = parser.parse_args()
    cfg = load_config(Path(args.run) / RUN_SETTINGS, overrides=args.set)
    folder = Path(args.run) / (args.seeds or last_seeds(DATASET_STEPS, cfg))
    index = open_index(cfg.data, args.list or cfg.data.seed_list or cfg.data.train_list, masks=True)
    choice = find_threshold(index, folder)
    if choice is None:
        raise UserError(f"no image of the list has a class, so {folder} holds no map; give another list with --list")
    found = evaluate_seeds(index, folder, choice.threshold, cfg.report.thresholds, cfg.workers)
    print(f"{folder}, {len(index)} images: found {choice.threshold:.3f}, {choice.reason}")
    print(
        f"mIoU {100 * found.matrix.miou():.1f} there, "
        f"{100 * found.best.miou():.1f} at the best, {found.threshold_best:g}"
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
