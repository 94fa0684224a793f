"""IRN's network and losses: agreement with the published ones, and what must hold whatever the weights are."""

import pytest
import torch
from torch.nn.functional import pad

from models.affinity import AffinityNet, boundary, build_affinity_net, cells, centroids, displacement
from models.backbone import build_backbone
from tests.models.reference import load_by_formula, reference, reference_image
from tests.models.tiny import TinyBackbone, make_image

SIZES = [(1, 1), (1, 37), (61, 1), (40, 56), (64, 96), (50, 35), (530, 20)]


def tiny_net(with_displacement: bool = True, seed: int = 0) -> AffinityNet:
    torch.manual_seed(seed)
    return AffinityNet(TinyBackbone(), with_displacement).eval()


def test_the_published_network_agrees():
    networks = reference("networks.npz")
    network = AffinityNet(build_backbone("resnet50", "none")).eval()
    load_by_formula(network)
    for index in (0, 1):
        image = reference_image(networks, index)
        for found, name in (
            (boundary(network, image, least_side=160)[None], "edge"),
            (displacement(network, image, least_side=160), "disp"),
        ):
            expected = torch.from_numpy(networks[f"{name}{index}"])
            assert found.shape == expected.shape
            assert (found - expected).abs().max() <= 1e-3


@pytest.mark.parametrize("name", ["tiny", "efficientnet_lite0", "timm/test_efficientnet"])
def test_any_backbone_and_any_size_give_maps_at_stride_4(name, tiny_backbone):
    network = build_affinity_net(name, "none")
    assert not network.training
    for height, width in SIZES if name == "tiny" else SIZES[:4]:
        x = torch.randn(2, 3, height, width)
        with torch.no_grad():
            maps = network(x)
        size = ((height - 1) // 4 + 1, (width - 1) // 4 + 1)
        assert cells(x) == boundary(network, x[0]).shape == size
        assert (maps.edge.shape, maps.displacement.shape) == ((2, 1, *size), (2, 2, *size))
        assert displacement(network, x[0]).shape == (2, *size)
        assert maps.edge.isfinite().all()
        assert maps.displacement.isfinite().all()


def test_a_fine_stage_is_averaged_over_each_cell_and_an_image_padded_with_zeros_to_whole_cells():
    network, x = tiny_net(), make_image(32, 48)[None]
    first = network.backbone.stages(x)[0]
    assert first.shape[-2:] == (16, 24)
    torch.testing.assert_close(network.features(x)[0], first.view(1, -1, 8, 2, 12, 2).mean(dim=(3, 5)))
    x = make_image(37, 50)[None]
    maps, padded = network(x), network(pad(x, (0, 14, 0, 11)))
    assert torch.equal(maps.edge, padded.edge[..., :10, :13])
    assert torch.equal(maps.displacement, padded.displacement[..., :10, :13])


def test_training_reaches_all_branches_and_the_backbone_stays_as_in_evaluation():
    network = tiny_net()
    network.backbone.blocks[2].append(torch.nn.Dropout(0.5))
    assert network.train().fc_edge1.training
    assert not any(module.training for module in network.backbone.modules())
    x = make_image(32, 48)[None].requires_grad_()
    maps = network(x)
    (maps.edge.square().sum() + maps.displacement.square().sum()).backward()
    assert x.grad is None
    for name, parameter in network.named_parameters():
        if name.startswith("backbone."):
            assert not parameter.requires_grad
            assert parameter.grad is None
        else:
            assert parameter.grad.abs().sum() > 0, name
    assert all(feature.grad_fn is None and not feature.requires_grad for feature in network.features(x))
    assert torch.equal(network(x).edge, maps.edge)
    mean = torch.tensor([2.0, -3.0])
    network.mean_shift.running_mean.copy_(mean)
    torch.testing.assert_close(network(x).displacement, maps.displacement)  # it is taken off in evaluation only
    off = network.eval().displacement(network.features(x))
    torch.testing.assert_close(off, network.train().displacement(network.features(x)) - mean.view(1, 2, 1, 1))


def test_without_displacement_the_boundary_is_the_same_and_nothing_of_it_is_left():
    both, alone = tiny_net(), tiny_net(with_displacement=False, seed=1)
    state = both.state_dict()
    alone.load_state_dict({name: state[name] for name in alone.state_dict()})
    assert {n for n in state if n not in alone.state_dict()} == {n for n in state if n.startswith(("fc_dp", "mean_"))}
    own = {id(parameter) for parameter in both.fast_part().parameters()}
    assert own == {id(parameter) for name, parameter in both.named_parameters() if name.startswith("fc_dp")}
    assert list(alone.fast_part().parameters()) == []
    x = make_image(40, 52)
    assert alone(x[None]).displacement is None
    assert torch.equal(alone(x[None]).edge, both(x[None]).edge)
    assert torch.equal(boundary(alone, x), boundary(both, x))


def test_a_boundary_is_the_sigmoid_of_the_mean_logit_and_the_least_side_pads():
    network, image = tiny_net(), make_image(35, 70)
    logits, mirrored = network(image[None]).edge[0, 0], network(image.flip(-1)[None]).edge[0, 0].flip(-1)
    torch.testing.assert_close(boundary(network, image), ((logits + mirrored) / 2).sigmoid())
    views = torch.stack([image, image.flip(-1)])
    wide = network(pad(views, (0, 10, 0, 45))).edge[:, 0, :9, :18]
    wide = torch.stack([wide[0], wide[1].flip(-1)]).mean(dim=0).sigmoid()
    torch.testing.assert_close(boundary(network, image, least_side=80), wide)
    by_hand = pad(image, (0, 10, 0, 45))
    torch.testing.assert_close(displacement(network, image, least_side=80), displacement(network, by_hand)[:, :9, :18])
    assert torch.equal(boundary(network, image, least_side=30), boundary(network, image))


def test_instances_are_numbered_without_gaps_and_cells_followed_for_as_long_as_an_object_may_be():
    field = 6 * torch.randn(2, 30, 31, generator=torch.Generator().manual_seed(0))
    instances = centroids(field)
    assert instances.unique().tolist() == list(range(1, int(instances.max()) + 1))
    assert instances.max() > 1
    ways = torch.stack([torch.zeros(2, 120), torch.tensor([[1.0], [-1.0]]).expand(2, 120)])
    first, second = (row.unique().tolist() for row in centroids(ways))
    assert len(first) == len(second) == 1
    assert first != second
    assert (centroids(torch.zeros(2, 5, 7)) == 1).all()
    assert (centroids(torch.full((2, 5, 7), 1000.0)) == 1).all()
    assert centroids(torch.zeros(2, 1, 1)).tolist() == [[1]]
    apart = torch.stack([torch.zeros(1, 4), torch.tensor([[-1000.0, -1000, 1000, 1000]])])  # to the rim and no further
    assert centroids(apart).tolist() == [[1, 1, 2, 2]]
    assert centroids(apart.flip(0).transpose(1, 2)).tolist() == [[1], [1], [2], [2]]


@pytest.mark.parametrize(("gap", "count"), [(1, 1), (2, 1), (3, 2)])
@pytest.mark.parametrize("down", [False, True])
def test_ends_at_most_two_cells_apart_are_one(gap, count, down):
    columns = torch.arange(12.0).expand(12, 12)
    field = torch.stack([torch.zeros(12, 12), torch.where(columns < 6, 4.0, 4.0 + gap) - columns])
    field[0] = 5 - columns.T
    assert centroids(field.flip(0).transpose(1, 2) if down else field).max() == count
