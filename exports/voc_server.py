"""Masks of VOC's `test` list (or any other, no truth needed) as the VOC evaluation server takes them.

    python -m exports.voc_server CHECKPOINT --list test --output server/ --set data.root=VOCdevkit/VOC2012

Runs the segmentation network as evaluate.py does (`infer.quality` of its settings, labels predicted), and packs
`results/VOC2012/Segmentation/comp6_test_cls/ID.png` into `server/voc_server.tgz`. The masks stay in
`server/predicted/`; the same command goes on where it stopped. For a folder of masks: python -m exports.masks MASKS
--export voc.
"""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import sys
from pathlib import Path

from data.index import open_index
from data.voc import VOC_CLASSES
from evaluation.predictions import PREDICTED, claim_folder, write_predictions
from exports.mask_sets import MaskFile, MaskSet
from exports.masks import export_masks
from models.segmenter import Segmenter
from stages.config import config_from_dict, override
from stages.networks import load_network
from utils.errors import UserError, run_script, script_parser


def main() -> None:
    """The command."""
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="a segmentation network of VOC's 20 classes")
    add("--list", default="test", metavar="LIST", help="a list's name or file (default: test)")
    add("--output", required=True, type=Path, metavar="FOLDER", help="where the masks and the archive go")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, such as data.root")
    args = parser.parse_args()
    network, checkpoint = load_network(args.checkpoint)
    if not isinstance(network, Segmenter) or checkpoint.class_names != VOC_CLASSES:
        what = f"is no segmentation network of VOC's {len(VOC_CLASSES)} classes"
        remedy = "give segmenter.pth of a run on VOC"
        raise UserError(f"{args.checkpoint} {what}, and the VOC server takes masks of no other; {remedy}")
    cfg = override(config_from_dict(checkpoint.config, str(args.checkpoint)), args.set)
    index = open_index(cfg.data, args.list)
    claim_folder(args.output, [args.checkpoint], index, cfg)
    write_predictions(network, index, args.output, cfg, given=False)
    folder = args.output / PREDICTED
    masks = (MaskFile(record.name, folder / f"{record.name}.png", record.image.name) for record in index.records)
    mask_set = MaskSet(dict(enumerate(VOC_CLASSES, start=1)), tuple(masks))
    print(export_masks(mask_set, ["voc"], args.output))


if __name__ == "__main__":
    sys.exit(run_script(main))
