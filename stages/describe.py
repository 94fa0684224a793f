"""What a weight file is, in words: `python -m stages.describe FILE`.

Our own checkpoints say it themselves; other files are known by the names of their entries.
"""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from stages.config import Config
from utils.checkpoint import FORMAT, Checkpoint, load_tensors, to_checkpoint
from utils.errors import UserError, run_script

SHOWN = 6  # names of entries of a file that nobody knows
WRAPPERS = ("state_dict", "model_state_dict", "model", "state", "network")  # under which programs keep the weights
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")  # entries that are no parameters
RESNET_DEPTHS = {  # (blocks of layer3, whether they are bottlenecks) -> depth
    (2, False): 18,
    (6, False): 34,
    (6, True): 50,
    (23, True): 101,
    (36, True): 152,
}
IRN_CAM, IRN_AFFINITY = "IRN's CAM network (res50_cam.pth)", "IRN's affinity network (res50_irn.pth)"
FITS = "; model.weights takes it"
Lines = list[tuple[str, str]]


def describe(path: str | Path) -> Lines:
    """What a file is, as (title, text) lines.

    Raises:
        UserError: no such file, damaged, or no weights at all.
    """
    content = load_tensors(path)
    size = ("file", f"{path}, {Path(path).stat().st_size / 1e6:.1f} MB")
    if isinstance(content, dict) and content.get("format") == FORMAT:
        return [size, *_ours(to_checkpoint(content, path))]
    if isinstance(content, dict) and {"fingerprint", "step", "network", "optimizer"} <= set(content):
        state = content["network"]
        return [
            size,
            ("kind", f"a training that was stopped after {content['step']} steps; train.py goes on from it"),
            *_counts(state),
        ]
    state = _unwrap(content)
    if not state:
        raise UserError(
            f"{path} holds {_type_of(content)} and no weights; expected tensors by name, or a checkpoint of train.py"
        )
    return [size, ("kind", _foreign(state)), *_counts(state)]


def _ours(checkpoint: Checkpoint) -> Lines:
    names = checkpoint.class_names
    lines = [
        ("kind", f"IBBNet {checkpoint.kind}"),
        ("classes", f"{len(names)}: {', '.join(names)}"),
        ("backbone", checkpoint.backbone),
        *((name, ", ".join(f"{value:g}" for value in values)) for name, values in checkpoint.normalisation.items()),
        *((f"figure {name}", f"{value:.4g}") for name, value in checkpoint.figures.items()),
        *_counts(checkpoint.state),
    ]
    return lines + [(f"setting {key}", str(value)) for key, value in changed_settings(checkpoint.config).items()]


def changed_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Settings by dotted name that differ from the defaults, which are the published protocol's."""
    default = _flat(Config().to_dict())
    return {key: value for key, value in _flat(config).items() if key not in default or default[key] != value}


def _flat(section: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in section.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: _plain(value)}
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _counts(state: dict[str, Tensor]) -> Lines:
    """Parameters, each storage once: IRN's files name a layer three times."""
    sizes = {
        (tensor.untyped_storage().data_ptr(), tensor.storage_offset()): tensor.numel()
        for name, tensor in state.items()
        if isinstance(tensor, Tensor) and not name.endswith(BUFFERS)
    }
    return [("parameters", f"{sum(sizes.values()):,} in {len(sizes)} tensors ({len(state)} entries)")]


def _unwrap(content: Any) -> dict[str, Tensor]:
    """The entries by name, out of the dictionary that a program put them in, without `nn.DataParallel`'s prefix."""
    if not isinstance(content, dict):
        return {}
    for name in WRAPPERS:
        if isinstance(content.get(name), dict):
            return _unwrap(content[name])
    return {str(name).removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}


def _foreign(state: dict[str, Tensor]) -> str:
    """What a state that does not describe itself is, by the names of its entries."""
    for knows, says in KNOWN:
        if all(_has(state, prefix) for prefix in knows):
            return says(state)
    names = list(state)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"not known; its entries begin with {', '.join(names[:SHOWN])}{more}"


def _has(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def _resnet(state: dict[str, Tensor], before: str = "") -> str:
    blocks = len({name.removeprefix(before).split(".")[1] for name in state if name.startswith(f"{before}layer3.")})
    depth = RESNET_DEPTHS.get((blocks, f"{before}layer1.0.conv3.weight" in state))
    return f"ResNet-{depth}" if depth else "ResNet"


def _head(state: dict[str, Tensor], name: str) -> str:
    return f" with a head of {len(state[name])} classes" if name in state else " without a head"


def _fits(state: dict[str, Tensor]) -> str:
    return FITS if _resnet(state) in ("ResNet-50", "ResNet-101") else ""


# Names that an entry must begin with, all of them -> what the file is; the first that fits.
KNOWN: tuple[tuple[tuple[str, ...], Callable[[dict[str, Tensor]], str]], ...] = (
    (("fc_edge1.", "stage1."), lambda state: IRN_AFFINITY),
    (("fc_edge1.", "resnet50."), lambda state: IRN_AFFINITY),
    (("edge_layers.",), lambda state: IRN_AFFINITY),
    (("fc_edge1.", "backbone."), lambda state: "the bare state of an IBBNet affinity network"),
    (("stage1.", "classifier."), lambda state: f"{IRN_CAM}{_head(state, 'classifier.weight')}{FITS}"),
    (("resnet50.", "classifier."), lambda state: f"{IRN_CAM}{_head(state, 'classifier.weight')}{FITS}"),
    (("backbone.", "head."), lambda state: "the bare state of an IBBNet segmentation network"),
    (
        ("backbone.layer1.", "classifier.0."),
        lambda state: f"torchvision's segmentation network on {_resnet(state, 'backbone.')}",
    ),
    (
        ("backbone.", "classifier."),
        lambda state: f"the bare state of an IBBNet classifier{_head(state, 'classifier.weight')}",
    ),
    (
        ("conv1.", "layer1.", "layer4."),
        lambda state: f"torchvision's {_resnet(state)}{_head(state, 'fc.weight')}{_fits(state)}",
    ),
    (("_conv_stem.", "_blocks."), lambda state: f"an EfficientNet of efficientnet_pytorch{_head(state, '_fc.weight')}"),
    (("conv_stem.", "blocks."), lambda state: f"timm's EfficientNet or MobileNet{_head(state, 'classifier.weight')}"),
    (("patch_embed.", "blocks."), lambda state: f"timm's vision transformer{_head(state, 'head.weight')}"),
)


def _type_of(content: Any) -> str:
    return (
        f"a {type(content).__name__}"
        if not isinstance(content, dict)
        else f"a dictionary of {', '.join(map(str, list(content)[:4])) or 'nothing'}"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m stages.describe", description="Print what weight files are.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a .pth file: ours, torchvision's, IRN's, any other")
    for number, path in enumerate(parser.parse_args().files):
        lines = describe(path)
        width = max(len(title) for title, _ in lines)
        print("\n" * bool(number) + "\n".join(f"{title:{width}}  {text}" for title, text in lines))


if __name__ == "__main__":
    sys.exit(run_script(main))
