"""Weight files: every kind that people have gives the same network, and what does not fit says so."""

from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.affinity import AffinityNet, build_affinity_net
from models.backbone import BACKBONES, build_backbone
from models.classifier import Classifier, build_classifier
from models.segmenter import Segmenter
from models.weights import read_weights
from tests.models.reference import published_state
from tests.models.tiny import TinyBackbone
from utils.checkpoint import Checkpoint, save_checkpoint
from utils.errors import UserError

pytestmark = pytest.mark.usefixtures("tiny_backbone")

OTHER = "timm/test_resnet"
# What IRN's program saves beside weights: indices of paths, targets, and in an early version a batch norm's statistics.
EXTRAS = (
    *("path_indices0", "path_indices7", "disp_target", "ind_from", "ind_to", "fc_dp7.4.running_var"),
    *("fc_dp7.4.num_batches_tracked", "resnet50.fc.weight", "resnet50.fc.bias"),
)


def stand_in(network: nn.Module) -> dict[str, Tensor]:
    """A network's state with a number of its own in place of each tensor: enough to see where it goes."""
    return {name: torch.tensor([float(number)]) for number, name in enumerate(network.state_dict())}


@pytest.fixture(scope="module")
def ours() -> dict[str, dict[str, Tensor]]:
    """States of the two networks that IRN has too, under our names."""
    with torch.device("meta"):
        backbone = build_backbone("resnet50", "none")
        networks = {"cam": Classifier(backbone, 20), "irn": AffinityNet(backbone)}
    return {kind: stand_in(network) for kind, network in networks.items()}


def saved(content: Any, folder: Path) -> str:
    torch.save(content, folder / "weights.pth")
    return str(folder / "weights.pth")


def checkpoint_of(network: nn.Module, kind: str, class_names: tuple[str, ...], folder: Path) -> str:
    settings = {"model": {"backbone": "tiny"}}
    save_checkpoint(folder / "own.pth", Checkpoint(kind, class_names, "tiny", settings, network.state_dict(), {}, {}))
    return str(folder / "own.pth")


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", ["cam", "irn"])
def test_irns_files_are_read_under_our_names_without_duplicates_and_extras(ours, tmp_path, kind):
    state = published_state(ours[kind]) | dict.fromkeys(EXTRAS if kind == "irn" else (), torch.zeros(3))
    for each in (state, behind("module.", state)):
        weights = read_weights(saved(each, tmp_path))
        assert same(weights.state, ours[kind])
        assert (weights.backbone, weights.class_names) == ("resnet50", None)
    state.pop("mean_shift.running_mean", None)  # an early version keeps the mean in its last layer
    assert same(read_weights(saved(state, tmp_path)).state, ours[kind])


def published_file(network: nn.Module, folder: Path) -> tuple[dict[str, Tensor], str]:
    """IRN's file as an old torch on several GPUs wrote it: legacy format, with metadata, no counts of batches."""
    random = torch.Generator().manual_seed(0)
    state = network.state_dict()
    state = {n: t if n.endswith("tracked") else torch.rand(t.shape, generator=random) for n, t in state.items()}
    named = published_state(state).items()
    published = OrderedDict((f"module.{n}", t) for n, t in named if not n.endswith("num_batches_tracked"))
    published._metadata = OrderedDict({"": {"version": 1}, "module.resnet50.bn1": {"version": 2}})
    path = folder / "published.pth"
    torch.save(published, path, _use_new_zipfile_serialization=False)
    return state, str(path)


def test_irns_files_give_backbone_head_and_the_branches_that_are_asked_for(tmp_path, monkeypatch):
    """On a small network of this name; exports/test_convert.py reads files of the real one."""
    monkeypatch.setitem(BACKBONES, "resnet50", lambda imagenet: TinyBackbone())
    state, path = published_file(build_classifier("resnet50", 20, "none"), tmp_path)
    names = [f"c{i}" for i in range(20)]
    assert same(build_classifier("resnet50", 20, path, class_names=names).state_dict(), state)
    fewer = build_classifier("resnet50", 3, path)
    assert fewer.num_classes == 3
    assert same(behind("backbone.", fewer.backbone.state_dict()), without("classifier.", state))
    state, path = published_file(build_affinity_net("resnet50", "none"), tmp_path)
    assert same(build_affinity_net("resnet50", path).state_dict(), state)
    alone = build_affinity_net("resnet50", read_weights(path), displacement=False).state_dict()
    assert same(alone, without(("fc_dp", "mean_"), state))
    backbone = build_backbone("resnet50", read_weights(path)).state_dict()
    assert same(behind("backbone.", backbone), without(("fc_", "mean_"), state))


def test_of_a_checkpoint_of_ours_the_backbone_is_taken_and_a_head_of_the_same_classes(tmp_path):
    backbone = TinyBackbone(seed=1)  # a fresh one has seed 0
    source = Classifier(backbone, 2)
    networks = {"affinity": AffinityNet(backbone, False), "segmenter": Segmenter(backbone, 3), "classifier": source}
    for kind, network in networks.items():
        path = checkpoint_of(network, kind, ("cat", "dog"), tmp_path)
        assert same(build_backbone("tiny", path).state_dict(), backbone.state_dict())
    for names, is_taken in ((["cat", "dog"], True), (None, True), (["dog", "cat"], False), (["cat"] * 3, False)):
        built = build_classifier("tiny", len(names or "ab"), path, class_names=names)
        assert same(built.backbone.state_dict(), backbone.state_dict())
        assert torch.equal(built.classifier.weight, source.classifier.weight) == is_taken
    plain = saved(source.state_dict(), tmp_path)  # the state alone, as torch.save(network.state_dict()) has it
    assert same(build_classifier("tiny", 2, plain).state_dict(), source.state_dict())


def test_branches_of_an_affinity_checkpoint_are_taken(tmp_path):
    source = AffinityNet(TinyBackbone(), displacement=False)
    path = checkpoint_of(source, "affinity", ("cat",), tmp_path)
    built = build_affinity_net("tiny", path)
    assert built.has_displacement  # fresh, for the file has none
    assert torch.equal(built.fc_edge2[0].weight, source.fc_edge2[0].weight)
    broken = torch.load(path, weights_only=True)
    del broken["state"]["fc_edge3.0.weight"]
    torch.save(broken, path)
    with pytest.raises(UserError, match=r'own\.pth does not fit the network: Missing .*"fc_edge3\.0\.weight"'):
        build_affinity_net("tiny", path)


def test_weights_of_another_backbone_are_told_by_name(ours, tmp_path):
    with pytest.raises(UserError, match=r"weights\.pth holds weights of resnet50, and model\.backbone is tiny"):
        build_backbone("tiny", saved(published_state(ours["cam"]), tmp_path))
    own = checkpoint_of(Classifier(TinyBackbone(), 2), "classifier", ("a", "b"), tmp_path)
    with pytest.raises(UserError, match=rf"own\.pth holds weights of tiny, and model\.backbone is {OTHER}"):
        build_backbone(OTHER, own)


def test_what_is_no_state_is_told(tmp_path):
    for content, message in (
        ([1], "does not hold a state dictionary, but list; save"),
        ({}, "does not hold a state dictionary"),
        (nn.Linear(1, 1), r"holds .*Linear; .*torch\.save\(model\.state_dict\(\), FILE\)"),
        ({"epoch": 3, "state_dict": {"a": 1}}, r"a dictionary of epoch, state_dict; save the network's state_dict\(\)"),
    ):
        with pytest.raises(UserError, match=rf"weights\.pth .*{message}|weights\.pth {message}"):
            read_weights(saved(content, tmp_path))


@pytest.fixture(scope="module")
def resnet() -> dict[str, Tensor]:
    """The state of a backbone with numbers of its own."""
    torch.manual_seed(3)
    return {n.removeprefix("net."): t for n, t in build_backbone(OTHER, "none").state_dict().items()}


def behind(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def without(prefixes: str | tuple[str, ...], state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}


EXTRA = {"fc.weight": torch.zeros(9, 512), "queue": torch.zeros(9)}
FOREIGN: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "in state_dict, with a head": lambda state: {"epoch": 3, "state_dict": state | EXTRA, "optimizer": {"state": {}}},
    "in model, beside a command line": lambda state: {"model": behind("module.", state), "args": Namespace(lr=1)},
    "a scalar and a head beside the weights": lambda state: state | EXTRA | {"epoch": 3},
    "encoder and decoder": lambda state: behind("encoder.", state) | {"decoder.conv1.weight": EXTRA["queue"]},
    "as MoCo": lambda state: {"state_dict": behind("module.encoder_q.", state) | behind("module.encoder_k.", EXTRA)},
    "as our own backbone": lambda state: behind("net.", state),
    "backbone of a wrapped network": lambda state: (
        behind("module.model.backbone.body.", state) | behind("module.head.", EXTRA)
    ),
    "without counts of batches": lambda state: {n: t for n, t in state.items() if not n.endswith("batches_tracked")},
}


@pytest.mark.parametrize("kind", [*FOREIGN, "safetensors"])
def test_weights_of_other_projects_are_read_by_one_rule(resnet, tmp_path, kind):
    path = tmp_path / ("other.safetensors" if kind == "safetensors" else "other.pth")
    if kind == "safetensors":
        save_file(behind("model.", resnet), path)
    else:
        torch.save(FOREIGN[kind](resnet), path)
    assert same(build_backbone(OTHER, str(path)).net.state_dict(), resnet)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=rf"{path.name} cannot be read as weights"):
        read_weights(path)


def test_of_weights_that_do_not_fit_is_said_how_many_do(resnet, tmp_path):
    all_ = len(resnet)
    wrong = behind("encoder.", resnet | {"layer1.0.conv1.weight": torch.zeros(2, 3)})
    for state, message in (
        (wrong, rf"{all_ - 1} of its {all_} entries fit .* 'layer1\.0\.conv1\.weight', expected \[32, .*\[2, 3\]"),
        ({"some.other": torch.zeros(1)}, rf"0 of its {all_} entries fit .* found none"),
        ({n: t for n, t in resnet.items() if n != "bn1.weight"}, rf"{all_ - 1} of .* 'bn1\.weight', .* found none"),
    ):
        with pytest.raises(UserError, match=message):
            build_backbone(OTHER, saved(state, tmp_path))
