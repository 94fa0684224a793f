"""A trained network as a small file to give away: weights of 16 bits, and no path of the machine that made it.

    python -m exports.release runs/voc12_compact/segmenter.pth checkpoints/voc12_compact.pth

evaluate.py and infer.py take the file as any checkpoint, and `model.weights=FILE` begins a training with it. The 16
bits are those of bf16, in which most networks are computed anyway. Vectors (scales, shifts and statistics of batch
norm) keep 32 bits: they take no room, and 16 bits would round them away. The archive is compressed.
"""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from stages.config import MACHINE, Config
from utils.checkpoint import load_checkpoint, save_checkpoint
from utils.errors import UserError, run_script, script_parser
from utils.files import atomic_path


def main() -> None:
    """The command."""
    parser = script_parser(__doc__)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a network that train.py wrote")
    parser.add_argument("output", type=Path, metavar="FILE", help="the small file")
    args = parser.parse_args()
    if args.output.exists() and args.output.samefile(args.checkpoint):
        raise UserError(f"{args.output} is the network itself, which would lose half of its bits; give another name")
    checkpoint = load_checkpoint(args.checkpoint)
    state = {
        name: tensor.to(torch.bfloat16) if tensor.is_floating_point() and tensor.ndim > 1 else tensor
        for name, tensor in checkpoint.state.items()
    }
    save_checkpoint(args.output, replace(checkpoint, state=state, config=portable(checkpoint.config)))
    compress(args.output)
    size, former = (path.stat().st_size / 1e6 for path in (args.output, args.checkpoint))
    print(f"{args.output}: {size:.1f} MB, was {former:.1f} MB")


def compress(path: Path) -> None:
    """Compress the entries of a file that torch has written, which torch reads as before."""
    with (
        zipfile.ZipFile(path) as archive,
        atomic_path(path, durable=True) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as compressed,
    ):
        for entry in archive.infolist():
            compressed.writestr(entry.filename, archive.read(entry))


def portable(config: dict[str, Any]) -> dict[str, Any]:
    """Settings without folders and devices; of `model.weights` and of files of the data, only the name of the file."""
    defaults = Config().to_dict()
    data = {key: _without_folder(value) for key, value in config["data"].items()} | {"root": defaults["data"]["root"]}
    model = config["model"] | {"weights": Path(config["model"]["weights"]).name}
    return config | {name: defaults[name] for name in MACHINE} | {"data": data, "model": model}


def _without_folder(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_without_folder(each) for each in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


if __name__ == "__main__":
    sys.exit(run_script(main))
