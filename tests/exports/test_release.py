"""The small file of a network: half as large, without paths, and with the same masks."""

import pytest
import torch

from models.segmenter import Segmenter, fill_head
from models.weights import read_weights
from stages.config import config_from_dict, load_config
from stages.networks import load_network, save_network
from tests.models.tiny import TinyBackbone
from tests.project import call
from utils.checkpoint import load_checkpoint

NAMES = ("cat", "dog", "train")


@pytest.fixture
def network(tmp_path, tiny_backbone) -> Segmenter:
    """What is in `large.pth`."""
    torch.manual_seed(0)
    network = Segmenter(TinyBackbone(), len(NAMES) + 1).eval()
    settings = ["model.backbone=tiny", "data.root=/home/somebody/data", "run=/home/somebody/run", "workers=7"]
    settings += ["data.hints=/home/somebody/hints.json", "data.classes=[/home/somebody/names.txt]"]
    cfg = load_config(None, overrides=settings)
    save_network(tmp_path / "large.pth", "segmenter", network, NAMES, cfg, {"loss": 0.5})
    return network


def test_it_is_half_as_large_says_nothing_of_the_machine_and_gives_the_same_logits(tmp_path, network):
    large, small = (tmp_path / f"{name}.pth" for name in ("large", "small"))
    assert "small.pth" in call("exports.release", large, small).well().out
    assert "the network itself, which would lose half" in call("exports.release", large, large).err
    assert small.stat().st_size < 0.55 * large.stat().st_size
    found, checkpoint = load_network(small)
    cfg = config_from_dict(checkpoint.config, str(small))
    assert "somebody" not in str(checkpoint.config)
    assert b"somebody" not in small.read_bytes()
    assert (cfg.workers, cfg.model.backbone, checkpoint.figures) == (2, "tiny", {"loss": 0.5})
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(found(image), network(image), rtol=0.01, atol=0.01)
    assert next(found.parameters()).dtype == torch.float32
    state = load_checkpoint(small).state  # vectors keep their bits
    assert all(torch.equal(state[name], values) for name, values in network.state_dict().items() if values.ndim < 2)
    assert {values.dtype for values in state.values() if values.ndim > 1} == {torch.bfloat16}


def test_a_head_begins_with_the_layers_that_fit(tmp_path, network):
    weights = read_weights(tmp_path / "large.pth")
    assert load_checkpoint(tmp_path / "large.pth").class_names == NAMES
    total = len(network.head.state_dict())
    for names, count in ((NAMES, total), (("a", "b", "c"), total - 2), (("a", "b"), total - 2)):
        fresh = Segmenter(TinyBackbone(1), len(names) + 1)
        own = {name: tensor.clone() for name, tensor in fresh.head.state_dict().items()}
        assert fill_head(fresh, weights, names) == count
        same = [torch.equal(tensor, own[name]) for name, tensor in fresh.head.state_dict().items() if "4." in name[:2]]
        assert all(same) == (names != NAMES)
