"""Networks are cut into stages: toy networks of every kind that timm has, and what is said of those that do not fit."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from models.timm_cut import (
    MOST_PREFIX,
    ODD,
    Stage,
    Unfit,
    cut_features,
    cut_whole,
    describe,
    features_of,
    order_of_parameters,
    watch,
)


def down(channels: int, stride: int) -> nn.Module:
    return nn.Conv2d(channels, 2 * channels if channels > 3 else 4, stride, stride)


class Steps(nn.Module):
    """What timm's `features_only` gives: a list of maps of strides 4, 8 and 16, of 4, 8 and 16 channels."""

    def __init__(self, multiple: int = 1, said: tuple[int, ...] = (4, 8, 16)):
        super().__init__()
        self.multiple = multiple
        self.a, self.b, self.c = down(3, 4), down(4, 2), down(8, 2)
        self.feature_info = SimpleNamespace(reduction=lambda: list(said))

    def forward(self, x: Tensor) -> list[Tensor]:
        if any(side % self.multiple for side in x.shape[2:]):
            raise RuntimeError("sides do not fit.\nand more")
        maps = [self.a(x)]
        maps.append(self.b(maps[0]))
        return [*maps, self.c(maps[1])]


class Exact(nn.Module):
    """The same, for sides that are no multiples as well."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(3, channels, 1) for channels in (4, 8, 16))
        self.feature_info = SimpleNamespace(reduction=lambda: [4, 8, 16])

    def forward(self, x: Tensor) -> list[Tensor]:
        convolutions = ((4, self.one), (8, self.two), (16, self.three))
        return [layer(nn.functional.avg_pool2d(x, stride, ceil_mode=True)) for stride, layer in convolutions]


class Columns(nn.Module):
    """A vision transformer in shape: patches of 16 pixels, and blocks that keep the size."""

    def __init__(self, blocks: int = 12, multiple: int = 16):
        super().__init__()
        self.multiple = multiple
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 6))
        self.embed = nn.Conv2d(3, 6, 16, 16)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(6, 6)) for _ in range(blocks)))
        self.feature_info = [{"module": f"blocks.{index}", "reduction": 16} for index in range(blocks)]

    def forward_features(self, x: Tensor) -> Tensor:
        if any(side % self.multiple for side in x.shape[2:]):
            raise RuntimeError(f"sides must be multiples of {self.multiple}")
        return self.blocks(torch.cat([self.cls_token, self.embed(x).flatten(2).mT], dim=1))


class Pyramid(nn.Module):
    """Stages of strides 4, 8, 16 and 32 in the layout of Swin, without a list of features."""

    def __init__(self):
        super().__init__()
        self.stem, self.one, self.two, self.three = down(3, 4), down(4, 2), down(8, 2), down(16, 2)
        self.after = nn.Sequential(nn.Sequential(nn.Identity()))
        self.feature_info = None

    def forward_features(self, x: Tensor) -> Tensor:
        for stage in (self.stem, self.one, self.two, self.three):
            x = stage(x)
        return self.after(x + 0).permute(0, 2, 3, 1)


def creates(net: nn.Module, **refused: str) -> Callable[..., nn.Module]:
    """Makes the network, but not with these options."""

    def create(**options: object) -> nn.Module:
        for name in refused.keys() & options.keys():
            raise TypeError(refused[name])
        return net

    return create


@pytest.mark.parametrize(
    ("cut", "net", "unit"),
    [
        *((cut_features, Steps(multiple), unit) for multiple, unit in ((1, 16), (16, 16), (32, 32))),
        *((cut_whole, Columns(multiple=m), unit) for m, unit in ((16, 16), (112, 112), (128, 128), (64, 128))),
    ],
)
def test_sides_are_multiples_of_as_little_as_works(cut, net, unit):
    assert cut(creates(net, output_stride="fixed")).unit == unit


def test_features_are_the_stages_and_each_ends_before_the_next_begins():
    cut = cut_features(creates(Steps()))
    assert cut.stages == (Stage("a", 4, 4, "nchw"), Stage("b", 8, 8, "nchw"), Stage("c", 16, 16, "nchw"))
    assert cut.block_ends == cut.ends
    assert list(cut.ends) == sorted(set(cut.ends))
    assert cut.begins["a.weight"] < cut.ends[0] < cut.begins["b.bias"] < cut.ends[1] < cut.begins["c.weight"]


def test_features_of_any_size_are_taken_as_they_are():
    cut, x = cut_features(creates(Exact())), torch.randn(1, 3, *ODD)
    assert cut.stages == (Stage("one", 4, 4, "nchw"), Stage("two", 8, 8, "nchw"), Stage("three", 16, 16, "nchw"))
    assert (cut.unit, [stage.prefix for stage in cut.stages]) == (1, [0, 0, 0])
    assert cut.block_ends == cut.ends
    assert list(cut.ends) == sorted(set(cut.ends))
    assert cut.begins["one.weight"] < cut.ends[0] < cut.begins["two.bias"] < cut.ends[1] < cut.begins["three.weight"]
    assert torch.equal(features_of(cut.net, x), cut.net(x)[-1])


def test_of_blocks_of_one_stride_four_are_stages_and_all_are_counted():
    cut = cut_whole(creates(Columns()))
    assert [stage.name for stage in cut.stages] == ["blocks.2", "blocks.5", "blocks.8", ""]
    found = {(stage.stride, stage.channels, stage.layout, stage.prefix) for stage in cut.stages}
    assert found == {(16, 6, "tokens", 1)}
    ends, begins = cut.block_ends, cut.begins
    assert (cut.unit, len(ends)) == (16, 12)
    assert list(ends) == sorted(set(ends))
    assert cut.ends[:3] == (ends[2], ends[5], ends[8])
    assert cut.ends[3] > ends[-1]
    assert begins["cls_token"] == 0
    assert begins["embed.weight"] < begins["blocks.0.0.weight"] < ends[0] < begins["blocks.1.0.bias"]
    for few in (2, 4):  # are all stages
        stages = cut_whole(creates(Columns(few))).stages
        assert [stage.name for stage in stages] == [*(f"blocks.{index}" for index in range(few - 1)), ""]


def test_without_a_list_the_last_module_of_each_stride_is_a_stage():
    cut = cut_whole(creates(Pyramid()))
    found = [(stage.name, stage.stride, stage.channels) for stage in cut.stages]
    assert found == [("stem", 4, 4), ("one", 8, 8), ("two", 16, 16), ("", 32, 32)]
    assert (cut.stages[-1].layout, cut.unit) == ("nhwc", 32)


ONE_LAYER, FLAT = nn.Linear(1, 1), Columns()
FLAT.forward_features = lambda x: torch.zeros(1, 6)


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        (partial(cut_features, creates(Steps(7))), "^an image of 64 x 96 pixels ends in: sides do not fit$"),
        (partial(cut_features, creates(Steps(16, (4, 8, 32)))), "^its stages are no maps of strides 4, 8, 32$"),
        (partial(cut_features, creates(Columns())), "^$"),
        (partial(cut_features, creates(Steps(), features_only="unknown")), "^$"),
        (partial(cut_whole, creates(ONE_LAYER)), "^it has no forward_features$"),
        (partial(cut_whole, creates(FLAT)), "^what it gives is no map$"),
        (
            partial(cut_whole, creates(Columns(multiple=10_000))),
            "^an image of 48 x 80 pixels ends in: sides must be multiples of 10000$",
        ),
        (partial(cut_whole, creates(Columns(), dynamic="unknown"), dynamic=True), "^$"),
        (partial(cut_whole, creates(Columns(), num_classes="unknown option")), "^unknown option$"),
    ],
)
def test_what_cannot_be_cut_says_why_or_leaves_it_to_another_way(cut, reason):
    with pytest.raises(Unfit, match=reason):
        cut()


GRID = (3, 5)  # of an image of 48 x 80 pixels at stride 16
MAP = torch.arange(2 * 6 * 15.0).view(2, 6, *GRID)
TOKENS = MAP.flatten(2).mT
NO_MAPS = [(2, 16 + MOST_PREFIX, 6), (2, 14, 6), (2, 6, 5, 3), (2, 6)]
MOST = torch.cat([torch.full((2, MOST_PREFIX, 6), -1.0), TOKENS], dim=1)


@pytest.mark.parametrize(
    ("output", "layout"),
    [(MAP, ("nchw",)), (MAP.movedim(1, -1), ("nhwc",)), (TOKENS, ("tokens", 0)), (MOST, ("tokens", MOST_PREFIX))],
)
def test_a_shape_says_which_layout_it_is_and_a_map_goes_there_and_back(output, layout):
    stage = describe("a", output, 16, (48, 80))
    assert stage == Stage("a", 16, 6, *layout)
    for other, sides in (
        (output, (48, 81)),
        ([output], (48, 80)),
        *((torch.zeros(shape), (48, 80)) for shape in NO_MAPS),
    ):
        assert describe("a", other, 16, sides) is None
    assert torch.equal(stage.to_map(output, GRID), MAP)
    assert torch.equal(stage.from_map(MAP, output), output)
    assert torch.equal(stage.to_map(stage.from_map(-MAP, output), GRID), -MAP)


def test_modules_are_watched_in_the_order_of_their_work():
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))).eval()
    net.own = nn.Parameter(torch.zeros(1))
    output, seen = watch(net, net, torch.ones(1, 2))
    assert [seen[name][:2] for name in ("0", "1", "2.0", "2.1", "2")] == [(0, 1), (2, 3), (5, 6), (7, 8), (4, 9)]
    assert seen["1"][2] is None  # it passes on what another module has made
    assert seen["2.1"][2] is output
    first = dict.fromkeys(("own", "0.weight", "0.bias"), 0)
    assert order_of_parameters(net, seen) == first | {"2.0.weight": 5, "2.0.bias": 5}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
