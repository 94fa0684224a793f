"""IRN's weight files (https://github.com/jiwoon-ahn/irn) as checkpoints of this project.

    python -m exports.convert res50_cam.pth classifier.pth               IRN's file, for evaluate.py and infer.py

The checkpoint gets VOC's classes and the settings of the published protocol. Training on from IRN's weights needs no
conversion: model.weights takes the file as it is.
"""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import sys
from pathlib import Path

from data.voc import VOC_CLASSES
from models.affinity import build_affinity_net
from models.classifier import build_classifier
from models.weights import PUBLISHED_BACKBONE, read_weights
from stages.config import load_config
from stages.networks import KINDS, Kind, Network, save_network
from utils.errors import UserError, run_script, script_parser


def main() -> None:
    """The command."""
    parser = script_parser(__doc__)
    parser.add_argument("source", metavar="FILE", type=Path, help="IRN's .pth file")
    parser.add_argument("target", metavar="OUT", type=Path, help="the .pth file to write")
    args = parser.parse_args()
    if args.target.exists():
        raise UserError(f"{args.target} exists already; give another name, or remove it first")
    weights = read_weights(args.source)
    if weights.class_names is not None:
        expected = "expected IRN's res50_cam.pth or res50_irn.pth"
        raise UserError(f"{weights.path} is a checkpoint of this project; {expected}")
    settings = load_config(None).changed("model", backbone=PUBLISHED_BACKBONE, weights=weights.path)
    head = weights.state.get("classifier.weight") if weights.backbone == PUBLISHED_BACKBONE else None
    kind: Kind
    network: Network
    if weights.backbone == PUBLISHED_BACKBONE and weights.part("fc_edge1."):
        kind = "affinity"
        network = build_affinity_net(PUBLISHED_BACKBONE, weights, bool(weights.part("fc_dp1.")))
    elif head is not None:
        if len(head) != len(VOC_CLASSES):
            expected = f"expected VOC's {len(VOC_CLASSES)}, whose names are known"
            remedy = "to train on from it, set model.weights to the file"
            raise UserError(f"{weights.path} knows {len(head)} classes, {expected}; {remedy}")
        kind, network = "classifier", build_classifier(PUBLISHED_BACKBONE, len(VOC_CLASSES), weights)
    else:
        remedy = "a backbone's weights need no conversion: set model.weights to the file"
        raise UserError(f"{weights.path} is neither IRN's res50_cam.pth nor its res50_irn.pth; {remedy}")
    save_network(args.target, kind, network, VOC_CLASSES, settings, figures={})
    print(f"{args.target}: {KINDS[kind]} on {PUBLISHED_BACKBONE} with the weights of {args.source}")


if __name__ == "__main__":
    sys.exit(run_script(main))
