"""Weight files of every kind that people have, read under this project's names.

Read are: a backbone's state (as torchvision's, with or without its `fc`), the checkpoints of this project, the state
of one of its networks, and IRN's `res50_cam.pth` and `res50_irn.pth`, as `.pth` or `.safetensors`. Other programs
keep such a state under a key, with a prefix before each name. One rule reads them all: the largest of several
dictionaries, and the prefix with which most names and shapes fit the backbone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from utils.checkpoint import FORMAT, load_tensors, to_checkpoint
from utils.errors import UserError

PUBLISHED_BACKBONE = "resnet50"
# Prefixes in IRN's files and of this project. The same layers again, as parts of stages and of lists, are left out.
PUBLISHED = (
    ("resnet50.", "backbone."),
    ("classifier.", "classifier."),
    ("fc_edge", "fc_edge"),
    ("fc_dp7.4.", "mean_shift."),
    ("fc_dp", "fc_dp"),
    ("mean_shift.", "mean_shift."),
)
# Entries of IRN's files that no layer of this project has; an early version of its mean shift was a batch norm.
_UNUSED = ("backbone.fc.", "mean_shift.running_var", "mean_shift.num_batches_tracked")


@dataclass(frozen=True)
class Weights:
    """What a weight file holds; None is what it does not say."""

    path: str
    state: dict[str, Tensor]  # names: backbone.*, classifier.*, fc_edge*, fc_dp*, mean_shift.*, head.*
    backbone: str | None = None
    class_names: tuple[str, ...] | None = None

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Entries whose names begin with the prefix, without it."""
        return {name.removeprefix(prefix): tensor for name, tensor in self.state.items() if name.startswith(prefix)}


def read_weights(path: str | Path) -> Weights:
    """Any weight file; `UserError` where there is none, or no state dictionary in it."""
    content = load_tensors(path)
    if isinstance(content, dict) and content.get("format") == FORMAT:
        checkpoint = to_checkpoint(content, path)
        return Weights(str(path), checkpoint.state, checkpoint.backbone, checkpoint.class_names)
    state = largest_state(content)
    if not state:
        found = type(content).__name__
        if isinstance(content, dict):
            found = f"a dictionary of {', '.join(map(str, [*content][:4]))}"
        raise UserError(f"{path} does not hold a state dictionary, but {found}; save the network's state_dict() alone")
    while True:
        if any(name.startswith("resnet50.") for name in state):
            return Weights(str(path), _from_published(state), PUBLISHED_BACKBONE)
        if any(name.startswith("backbone.") for name in state):
            return Weights(str(path), state)
        shared = {name.partition(".")[0] for name in state}
        if len(shared) > 1 or not all("." in name for name in state):
            break
        state = {name.partition(".")[2]: tensor for name, tensor in state.items()}  # module., model., encoder.
    return Weights(str(path), {f"backbone.{name}": tensor for name, tensor in state.items()})


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


def fitting(state: dict[str, Tensor], network: nn.Module, where: str) -> dict[str, Tensor]:
    """A network's entries from a state, with the prefix taken off with which most names and shapes fit.

    The `UserError` where not all of them fit says how many do, and which is the first that does not.
    """
    own = network.state_dict()
    inner = "net." if all(name.startswith("net.") for name in own) else ""  # our own wrapper of timm's networks
    shapes = {name.removeprefix(inner): tensor.shape for name, tensor in own.items()}
    prefixes = {""} | {other.removesuffix(name) for other in state for name in shapes if other.endswith(f".{name}")}
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
        first = f"the first that does not is '{wrong}', expected {list(shapes[wrong])}, {other}"
        raise UserError(
            f"{where} does not fit the network: {len(found)} of its {len(shapes)} entries{behind} fit in name and "
            f"shape; {first}; give a file of this backbone"
        )
    return own | {inner + name: state[prefix + name] for name in found}


def _from_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        theirs, ours = next((pair for pair in PUBLISHED if name.startswith(pair[0])), ("", ""))
        renamed = ours + name.removeprefix(theirs)
        if ours and not renamed.startswith(_UNUSED):
            found[renamed] = tensor
    return found
