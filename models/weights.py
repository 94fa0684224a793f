"""Weight files of every kind that people have, read under this project's names, and IRN's published names.

    weights = read_weights("res50_cam.pth")
    weights.part("backbone.")                 # the state of a backbone
    weights.part("classifier.")               # of a classifier's head; empty where the file has none
    torch.save(published_state(classifier.state_dict()), "res50_cam.pth")   # and back

Read are: a backbone's state (as torchvision's, with or without its `fc`), the checkpoints of this project, the state
of one of its networks, and IRN's `res50_cam.pth` and `res50_irn.pth`, as `.pth` or `.safetensors`. Other programs
keep such a state under a key (`state_dict`, `model`), with a prefix before each name (`module.`, `encoder.`). One
rule reads them all: the largest of several dictionaries, and the prefix with which most names and shapes fit the
backbone (`fitting`).

IRN's networks register each layer up to three times, as a part of `resnet50`, of a stage and of a list, and so do its
files. Any one of the three is enough here; where they disagree, the first of `CAM_NAMES` or `IRN_NAMES` counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from utils.checkpoint import FORMAT, load_tensors, to_checkpoint
from utils.errors import UserError

PUBLISHED_BACKBONE = "resnet50"
# Parts of a ResNet in the stages of the published networks, by position; None has no entries.
_CAM_STAGES = (("conv1", "bn1", None, None, "layer1"), ("layer2",), ("layer3",), ("layer4",))
_IRN_STAGES = (("conv1", "bn1", None, None), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
_WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model",
)  # under which programs save a state, averaged ones first
_IMAGENET_HEADS = ("fc.", "classifier.")  # of the 1,000 classes, which a plain backbone's file may bring along
# Entries of IRN's files that no layer of this project has; an early version of its mean shift was a batch norm.
_UNUSED = ("backbone.fc.", "mean_shift.running_var", "mean_shift.num_batches_tracked")

Names = tuple[tuple[str, str], ...]


def _stage_names(stages: tuple[tuple[str | None, ...], ...]) -> Names:
    places = [
        (stage, position, f"backbone.{part}.")
        for stage, parts in enumerate(stages)
        for position, part in enumerate(parts)
        if part
    ]
    return (
        ("resnet50.", "backbone."),
        *((f"stage{stage + 1}.{position}.", ours) for stage, position, ours in places),
        *((f"backbone.{stage}.{position}.", ours) for stage, position, ours in places),
    )


# (published prefix, prefix of this project), the preferred first; a name belongs to the first whose prefix it has.
CAM_NAMES: Names = (*_stage_names(_CAM_STAGES), ("classifier.", "classifier."), ("newly_added.0.", "classifier."))
IRN_NAMES: Names = (
    *_stage_names(_IRN_STAGES),
    *((name, "mean_shift.") for name in ("mean_shift.", "fc_dp7.4.", "dp_layers.6.4.")),
    *((f"fc_edge{number}.", f"fc_edge{number}.") for number in range(1, 7)),
    *((f"edge_layers.{number - 1}.", f"fc_edge{number}.") for number in range(1, 7)),
    *((f"fc_dp{number}.", f"fc_dp{number}.") for number in range(1, 8)),
    *((f"dp_layers.{number - 1}.", f"fc_dp{number}.") for number in range(1, 8)),
)


@dataclass(frozen=True)
class Weights:
    """What a weight file holds.

    Attributes:
        path: of the file.
        state: entries by this project's names: `backbone.*`, `classifier.*`, `fc_edge*`, `fc_dp*`, `mean_shift.*`,
        `head.*`.
        backbone: the backbone's name; None where the file does not say.
        class_names: None where the file does not say.
    """

    path: str
    state: dict[str, Tensor]
    backbone: str | None = None
    class_names: tuple[str, ...] | None = None

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Entries whose names begin with the prefix, without it."""
        return {name.removeprefix(prefix): tensor for name, tensor in self.state.items() if name.startswith(prefix)}


def read_weights(path: str | Path) -> Weights:
    """Any weight file.

    Raises:
        UserError: no such file, no state dictionary, or a checkpoint that cannot be read.
    """
    content = load_tensors(path)
    if isinstance(content, dict) and content.get("format") == FORMAT:
        checkpoint = to_checkpoint(content, path)
        return Weights(str(path), checkpoint.state, checkpoint.backbone, checkpoint.class_names)
    state = largest_state(content)
    if not state:
        found = (
            f"a dictionary of {', '.join(map(str, [*content][:4]))}"
            if isinstance(content, dict)
            else type(content).__name__
        )
        raise UserError(f"{path} does not hold a state dictionary, but {found}; save the network's state_dict() alone")
    while True:
        if names := _published_names(state):
            return Weights(str(path), _renamed(state, names), PUBLISHED_BACKBONE)
        if any(name.startswith("backbone.") for name in state):
            return Weights(str(path), state)
        shared = {name.partition(".")[0] for name in state}
        if len(shared) > 1 or not all("." in name for name in state):
            break
        state = {name.partition(".")[2]: tensor for name, tensor in state.items()}  # module., model., encoder.
    plain = {f"backbone.{name}": tensor for name, tensor in state.items() if not name.startswith(_IMAGENET_HEADS)}
    return Weights(str(path), plain)


def largest_state(content: Any) -> dict[str, Tensor]:
    """The tensors of a dictionary by name, or of the largest dictionary in it (`state_dict`); empty without any.

    A copy, without the metadata by which torch would ask for entries that old files lack.
    """
    if not isinstance(content, dict):
        return {}
    states = [
        {name: tensor for name, tensor in each.items() if isinstance(name, str) and isinstance(tensor, Tensor)}
        for each in (content, *content.values())
        if isinstance(each, dict)
    ]
    return max(states, key=len)


def _shared_prefix(names: Iterable[str]) -> str:
    """The modules around all of the names, with a dot at the end."""
    shared = ""
    for parts in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        shared += f"{parts[0]}."
    return shared


def fitting(state: dict[str, Tensor], network: nn.Module, where: str) -> dict[str, Tensor]:
    """A network's entries from a state, with the prefix taken off with which most names and shapes fit.

    Raises:
        UserError: not all of the network's entries fit; says how many do, and which is the first that does not.
    """
    own = network.state_dict()
    inner = _shared_prefix(own)  # of a wrapper of our own, as around timm's networks
    first = {name.removeprefix(inner).partition(".")[0] for name in own}
    shapes = {name.removeprefix(inner): tensor.shape for name, tensor in own.items()}
    prefixes = {""} | {
        ".".join(parts[:count]) + "."
        for parts in (name.split(".") for name in state)
        for count in range(1, len(parts))
        if parts[count] in first
    }
    fits = {
        prefix: [name for name in shapes if prefix + name in state and state[prefix + name].shape == shapes[name]]
        for prefix in sorted(prefixes, key=len)
    }
    prefix = max(fits, key=lambda each: len(fits[each]))
    found = set(fits[prefix])
    # Counts of batches, which old files lack, are read by no network here.
    wrong = next((name for name in shapes if name not in found and not name.endswith("num_batches_tracked")), None)
    if wrong is not None:
        behind = f" behind '{prefix}'" if prefix else ""
        other = f"found {list(state[prefix + wrong].shape)}" if prefix + wrong in state else "found none"
        raise UserError(
            f"{where} does not fit the network: {len(found)} of its {len(shapes)} entries{behind} fit in name and "
            f"shape; the first that does not is '{wrong}', expected {list(shapes[wrong])}, {other}; give a file of "
            "this backbone"
        )
    return own | {inner + name: state[prefix + name] for name in found}


def published_state(state: dict[str, Tensor], where: str = "the network") -> dict[str, Tensor]:
    """The state of a classifier or an affinity network on ResNet-50 under IRN's names, all duplicates included.

    The duplicates share memory, as in IRN's own files. IRN's program reads such a classifier where it has 20 classes.

    Raises:
        UserError: another network or backbone; the message names `where` the state is from.
    """
    if any(name.startswith("fc_edge") for name in state):
        names = IRN_NAMES
    elif "classifier.weight" in state and "classifier.bias" not in state:
        names = CAM_NAMES
    else:
        raise UserError(
            f"{where} is neither a classifier nor an affinity network; IRN's program knows these two only; "
            "give classifier.pth or affinity.pth of a run"
        )
    # What ResNet-50 has and other backbones, ResNet-101 among them, have not.
    if "backbone.layer3.5.conv3.weight" not in state or "backbone.layer3.6.conv3.weight" in state:
        raise UserError(
            f"{where} is on another backbone than {PUBLISHED_BACKBONE}, the only one that IRN's program knows; "
            "train with "
            f"--set model.backbone={PUBLISHED_BACKBONE}"
        )
    return {
        theirs + name.removeprefix(ours): tensor
        for theirs, ours in names
        for name, tensor in state.items()
        if name.startswith(ours)
    }


def _published_names(state: dict[str, Tensor]) -> Names | None:
    """The names by which to read the state of one of IRN's networks; None for any other."""
    if not any(name.startswith(("resnet50.", "stage1.0.", "backbone.0.0.")) for name in state):
        return None
    five_stages = any(name.startswith(("fc_edge", "edge_layers.", "stage5.", "backbone.4.")) for name in state)
    return IRN_NAMES if five_stages else CAM_NAMES


def _renamed(state: dict[str, Tensor], names: Names) -> dict[str, Tensor]:
    """Entries under our names. What has none (indices of paths, a `fc` that was never used) is left out."""
    found: dict[str, tuple[int, Tensor]] = {}
    for name, tensor in state.items():
        rank = next((rank for rank, (theirs, _) in enumerate(names) if name.startswith(theirs)), None)
        if rank is None:
            continue
        theirs, ours = names[rank]
        renamed = ours + name.removeprefix(theirs)
        if not renamed.startswith(_UNUSED) and rank < found.get(renamed, (len(names), tensor))[0]:
            found[renamed] = (rank, tensor)
    return {name: tensor for name, (_, tensor) in found.items()}
