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
from models.backbone import build_backbone
from models.classifier import Classifier, build_classifier
from models.segmenter import Segmenter
from models.weights import read_weights
from tests.models.reference import published_state
from utils.checkpoint import Checkpoint, save_checkpoint
from utils.errors import UserError

LITE0 = "efficientnet_lite0"
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


def saved(content: Any, folder: Path) -> Path:
    torch.save(content, folder / "weights.pth")
    return folder / "weights.pth"


def checkpoint_of(network: nn.Module, kind: str, class_names: tuple[str, ...], path: Path) -> Path:
    settings = {"model": {"backbone": LITE0}}
    save_checkpoint(path, Checkpoint(kind, class_names, LITE0, settings, network.state_dict(), {}, {}))
    return path


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def only(state: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name.startswith(prefixes)}


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("kind", ["cam", "irn"])
def test_irns_files_are_read_under_our_names_without_duplicates_and_extras(ours, tmp_path, kind, parallel):
    state = published_state(ours[kind]) | dict.fromkeys(EXTRAS if kind == "irn" else (), torch.zeros(3))
    if parallel:
        state = {f"module.{name}": tensor for name, tensor in state.items()}
    weights = read_weights(saved(state, tmp_path))
    assert same(weights.state, ours[kind])
    assert (weights.backbone, weights.class_names) == ("resnet50", None)
    state.pop("mean_shift.running_mean", None)  # an early version keeps the mean in its last layer
    assert same(read_weights(saved(state, tmp_path)).state, ours[kind])


def published_file(network: nn.Module, folder: Path) -> tuple[dict[str, Tensor], Path]:
    """IRN's file as an old torch on several GPUs wrote it: legacy format, with metadata, no counts of batches."""
    random = torch.Generator().manual_seed(0)
    state = network.state_dict()
    state = {n: t if n.endswith("tracked") else torch.rand(t.shape, generator=random) for n, t in state.items()}
    named = published_state(state).items()
    published = OrderedDict((f"module.{n}", t) for n, t in named if not n.endswith("num_batches_tracked"))
    published._metadata = OrderedDict({"": {"version": 1}, "module.resnet50.bn1": {"version": 2}})
    path = folder / "published.pth"
    torch.save(published, path, _use_new_zipfile_serialization=False)
    return state, path


def test_irns_classifier_file_gives_backbone_and_head(tmp_path):
    state, path = published_file(build_classifier("resnet50", 20, "none"), tmp_path)
    names = [f"c{i}" for i in range(20)]
    assert same(build_classifier("resnet50", 20, str(path), class_names=names).state_dict(), state)
    fewer = build_classifier("resnet50", 3, str(path))
    assert fewer.num_classes == 3
    assert torch.equal(fewer.backbone.layer4[2].conv3.weight, state["backbone.layer4.2.conv3.weight"])


def test_irns_affinity_file_gives_the_branches_that_are_asked_for(tmp_path):
    state, path = published_file(build_affinity_net("resnet50", "none"), tmp_path)
    weights = read_weights(path)
    assert same(build_affinity_net("resnet50", weights).state_dict(), state)
    alone = build_affinity_net("resnet50", weights, displacement=False).state_dict()
    assert same(alone, {name: state[name] for name in alone})
    backbone = build_backbone("resnet50", weights).state_dict()
    assert same({f"backbone.{name}": tensor for name, tensor in backbone.items()}, only(state, "backbone."))


@pytest.fixture(scope="module")
def backbone() -> nn.Module:
    return build_backbone(LITE0, "none")


def test_of_a_checkpoint_of_ours_the_backbone_is_taken(tmp_path, backbone):
    classifier = Classifier(backbone, 2)
    networks = {"classifier": classifier, "affinity": AffinityNet(backbone, False), "segmenter": Segmenter(backbone, 3)}
    for kind, network in networks.items():
        path = checkpoint_of(network, kind, ("cat", "dog"), tmp_path / f"{kind}.pth")
        assert same(build_backbone(LITE0, str(path)).state_dict(), backbone.state_dict())
    plain = saved(classifier.state_dict(), tmp_path)  # the state alone, as torch.save(network.state_dict()) has it
    assert same(build_classifier(LITE0, 2, str(plain)).state_dict(), classifier.state_dict())


def test_a_head_is_taken_where_its_classes_are_the_same(tmp_path, backbone):
    source = Classifier(backbone, 2)
    path = str(checkpoint_of(source, "classifier", ("cat", "dog"), tmp_path / "own.pth"))
    for names, is_taken in ((["cat", "dog"], True), (None, True), (["dog", "cat"], False), (["cat"] * 3, False)):
        built = build_classifier(LITE0, len(names or "ab"), path, class_names=names)
        assert same(built.backbone.state_dict(), backbone.state_dict())
        assert torch.equal(built.classifier.weight, source.classifier.weight) == is_taken


def test_branches_of_an_affinity_checkpoint_are_taken(tmp_path, backbone):
    source = AffinityNet(backbone, displacement=False)
    path = str(checkpoint_of(source, "affinity", ("cat",), tmp_path / "own.pth"))
    built = build_affinity_net(LITE0, path)
    assert built.has_displacement  # fresh, for the file has none
    assert torch.equal(built.fc_edge2[0].weight, source.fc_edge2[0].weight)
    broken = torch.load(path, weights_only=True)
    del broken["state"]["fc_edge3.0.weight"]
    torch.save(broken, path)
    with pytest.raises(UserError, match=r'own\.pth does not fit the network: Missing .*"fc_edge3\.0\.weight"'):
        build_affinity_net(LITE0, path)


def test_weights_of_another_backbone_are_told_by_name(ours, tmp_path, backbone):
    path = str(saved(published_state(ours["cam"]), tmp_path))
    with pytest.raises(UserError, match=rf"weights\.pth holds weights of resnet50, and model\.backbone is {LITE0}"):
        build_backbone(LITE0, path)
    own = checkpoint_of(Classifier(backbone, 2), "classifier", ("a", "b"), tmp_path / "own.pth")
    with pytest.raises(UserError, match=rf"own\.pth holds weights of {LITE0}, and model\.backbone is timm/resnet18"):
        build_backbone("timm/resnet18", str(own))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        *(([1], "does not hold a state dictionary"), ({}, "does not hold a state dictionary")),
        (nn.Sequential(nn.Linear(1, 1)), r"holds .*Sequential; .*torch\.save\(model\.state_dict\(\), FILE\)"),
        ({"epoch": 3, "state_dict": {"a": 1}}, r"a dictionary of epoch, state_dict; save the network's state_dict\(\)"),
    ],
)
def test_what_is_no_state_is_told(tmp_path, content, message):
    with pytest.raises(UserError, match=rf"weights\.pth .*{message}|weights\.pth {message}"):
        read_weights(saved(content, tmp_path))


@pytest.fixture(scope="module")
def resnet() -> dict[str, Tensor]:
    """The state of a backbone with numbers of its own."""
    torch.manual_seed(3)
    return {n.removeprefix("net."): t for n, t in build_backbone("timm/resnet10t", "none").state_dict().items()}


def behind(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


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
    assert same(build_backbone("timm/resnet10t", str(path)).net.state_dict(), resnet)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=rf"{path.name} cannot be read as weights"):
        read_weights(path)


def test_of_weights_that_do_not_fit_is_said_how_many_do(resnet, tmp_path):
    all_ = len(resnet)
    wrong = behind("encoder.", resnet | {"layer1.0.conv1.weight": torch.zeros(2, 3)})
    for state, message in (
        (wrong, rf"{all_ - 1} of its {all_} entries fit .* 'layer1\.0\.conv1\.weight', expected \[64, .*\[2, 3\]"),
        ({"some.other": torch.zeros(1)}, rf"0 of its {all_} entries fit .* found none"),
        ({n: t for n, t in resnet.items() if n != "bn1.weight"}, rf"{all_ - 1} of .* 'bn1\.weight', .* found none"),
    ):
        with pytest.raises(UserError, match=message):
            build_backbone("timm/resnet10t", str(saved(state, tmp_path)))
