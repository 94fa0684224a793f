"""What the last stage could reach on own images: it is trained on the TRUE masks, which train.py never reads.

python -m benchmarks.bound --preset folder --set data.root=FOLDER --set data.val_list=val --run runs/bound

The images of the training list need masks in FOLDER/masks. Beside this figure one can see what pseudo masks cost.
"""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import sys
from pathlib import Path

from data.folder import MASKS
from data.index import open_index
from evaluation.predictions import evaluate_predictions, write_predictions
from stages.config import load_fitting_config
from stages.networks import load_segmenter
from stages.segment import SegmenterPlan, train_on_masks
from utils.config_file import add_setting_options
from utils.errors import UserError, run_script, script_parser
from utils.run import Run

NETWORK, PREDICTED = "bound.pth", "bound"


def main() -> None:
    parser = script_parser(__doc__)
    add_setting_options(parser, "folder")
    parser.add_argument("--run", default="runs/bound", metavar="FOLDER", help="where the network goes")
    args = parser.parse_args()
    cfg, _ = load_fitting_config(args.config, args.preset, [*args.set, f"run={args.run}"])
    if cfg.data.kind != "folder":
        raise UserError(f"data.kind is {cfg.data.kind}; the bound is of own images: set data.kind=folder")
    index = open_index(cfg.data, cfg.data.val_list, masks=True)
    run = Run(cfg, sys.argv)
    masks = (Path(cfg.data.root) / MASKS).absolute()
    train_on_masks(cfg, run, SegmenterPlan("bound", cfg.segment.epochs, str(masks), NETWORK))
    folder = run.fresh_folder(PREDICTED)
    write_predictions(load_segmenter(run.path(NETWORK)), index, folder, cfg)
    for labels, evaluation in evaluate_predictions(index, folder, cfg, list=cfg.data.val_list).items():
        print(f"\ntrained on the true masks, {labels} labels", evaluation.table(), sep="\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
