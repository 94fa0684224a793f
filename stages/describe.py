"""What a weight file is, in words: `python -m stages.describe FILE`; of another program's file it lists the entries."""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import argparse
import sys
from pathlib import Path

from torch import Tensor

from models.weights import largest_state
from stages.config import changed_settings
from utils.checkpoint import FORMAT, load_tensors, to_checkpoint
from utils.errors import UserError, run_script

SHOWN = 6  # names of entries of another program's file
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")  # entries that are no parameters
Lines = list[tuple[str, str]]


def describe(path: str | Path) -> Lines:
    """What a file is, as (title, text) lines; `UserError` where it is not there, damaged, or holds no weights."""
    content = load_tensors(path)
    lines = [("file", f"{path}, {Path(path).stat().st_size / 1e6:.1f} MB")]
    entries = content if isinstance(content, dict) else {}
    if entries.get("format") == FORMAT:
        checkpoint = to_checkpoint(content, path)
        classes = f"{len(checkpoint.class_names)}: {', '.join(checkpoint.class_names)}"
        lines += [("kind", f"IBBNet {checkpoint.kind}"), ("classes", classes), ("backbone", checkpoint.backbone)]
        lines += [(name, ", ".join(f"{v:g}" for v in values)) for name, values in checkpoint.normalisation.items()]
        lines += [(f"figure {name}", f"{value:.4g}") for name, value in checkpoint.figures.items()]
        changed = changed_settings(checkpoint.config)
        return [*lines, _count(checkpoint.state), *((f"setting {key}", str(value)) for key, value in changed.items())]
    state = largest_state(content)
    if not state:
        keys = ", ".join(map(str, entries))[:100]
        found = f"a dictionary of {keys}" if entries else f"a {type(content).__name__}"
        raise UserError(f"{path} holds {found} and no weights; expected tensors by name, or a checkpoint of train.py")
    if {"fingerprint", "step", "network", "optimizer"} <= set(entries):
        kind = f"a training that was stopped after {content['step']} steps; train.py goes on from it"
    else:
        more = f" and {len(state) - SHOWN} more" if len(state) > SHOWN else ""
        kind = f"not a checkpoint of train.py; its entries begin with {', '.join(list(state)[:SHOWN])}{more}"
    return [*lines, ("kind", kind), _count(state)]


def _count(state: dict[str, Tensor]) -> tuple[str, str]:
    """Parameters, each storage once: IRN's files name a layer three times."""
    sizes = {
        (tensor.untyped_storage().data_ptr(), tensor.storage_offset()): tensor.numel()
        for name, tensor in state.items()
        if isinstance(tensor, Tensor) and not name.endswith(BUFFERS)
    }
    return "parameters", f"{sum(sizes.values()):,} in {len(sizes)} tensors ({len(state)} entries)"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m stages.describe", description="Print what weight files are.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a .pth file: ours, torchvision's, IRN's, any other")
    for index, path in enumerate(parser.parse_args().files):
        lines = describe(path)
        width = max(len(title) for title, _ in lines)
        print(("\n" if index else "") + "\n".join(f"{title:{width}}  {text}" for title, text in lines))


if __name__ == "__main__":
    sys.exit(run_script(main))
