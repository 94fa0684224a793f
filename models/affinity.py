"""IRN's affinity network: where objects end, and where their centres lie (Ahn, Cho, Kwak, CVPR 2019, sections 4 and 5).

    network = AffinityNet(build_backbone("resnet50"))    # branches on a frozen backbone
    edge = boundary(network, image)                      # 0..1, what the random walk must not cross
    instances = centroids(displacement(network, image))  # cells that point to the same centre

All branches learn only from whether two near cells have the same class (models/pairs.py).
"""

from math import lcm
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, pad, relu

from models.backbone import build_backbone, open_weights
from models.chain import Backbone
from models.weights import Weights
from utils.errors import UserError

STRIDE = 4  # of all maps here, as of seeds

# As published: channels and group-norm groups of each stage in the boundary branch; channels of the first stage and of
# late ones in the displacement branch.
EDGE_WIDTH, EDGE_GROUPS = 32, 4
FIRST_WIDTH, LAST_WIDTH = 64, 256

CENTROID_DOUBLINGS = 7  # 2^7 steps, more than lie between the rim of an object and its centre


class AffinityMaps(NamedTuple):
    """Of images (B, 3, H, W); H4 = ceil(H / 4)."""

    edge: Tensor  # (B, 1, H4, W4) boundary logits
    displacement: Tensor | None  # (B, 2, H4, W4): (dy, dx) in cells to the centre of the object; None without branch


class AffinityNet(nn.Module):
    """A boundary branch, and a displacement branch, over all stages of a frozen backbone.

    On ResNet-50 this is the published network, with its widths and parameter names. For any backbone: each stage has a
    1x1 convolution with group norm, and all are brought to stride 4: coarser maps interpolated, finer ones averaged.
    For the displacement, stages coarser than 4 are first joined at stride 8. Images are padded with zeros at the right
    and bottom until every stride divides them.
    """

    def __init__(self, backbone: Backbone, displacement: bool = True):
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()
        self.has_displacement = displacement
        count = len(backbone.channels)
        for number, channels in enumerate(backbone.channels, start=1):  # published names, one for each stage
            self.add_module(f"fc_edge{number}", _branch(channels, EDGE_WIDTH, EDGE_GROUPS))
        self.add_module(f"fc_edge{count + 1}", nn.Conv2d(count * EDGE_WIDTH, 1, 1))
        if not displacement:
            return
        widths = [min(FIRST_WIDTH * 2**index, LAST_WIDTH) for index in range(count)]
        for number, (channels, width) in enumerate(zip(backbone.channels, widths, strict=True), start=1):
            self.add_module(f"fc_dp{number}", _branch(channels, width))
        self.coarse = [stride > STRIDE for stride in backbone.strides]
        joined = sum(width for width, coarse in zip(widths, self.coarse, strict=True) if coarse)
        self.add_module(f"fc_dp{count + 1}", _branch(joined, LAST_WIDTH))
        self.mean_shift = nn.Module()  # of its own, for the published name; the mean over the training images
        self.mean_shift.register_buffer("running_mean", torch.zeros(2))
        last = _branch(sum(widths) - joined + LAST_WIDTH, LAST_WIDTH)
        output = nn.Sequential(*last, nn.ReLU(), nn.Conv2d(LAST_WIDTH, 2, 1, bias=False))
        self.add_module(f"fc_dp{count + 2}", output)

    def _layers(self, prefix: str) -> list[nn.Module]:
        """Modules by the beginning of their names, in order: one for each stage, and those behind."""
        return [module for name, module in self.named_children() if name.startswith(prefix)]

    def fast_part(self) -> nn.ModuleList:
        """The displacement's own modules, which train at `lr_head_factor` times the learning rate, as published."""
        return nn.ModuleList(self._layers("fc_dp"))

    def train(self, mode: bool = True) -> "AffinityNet":
        """Training or evaluation mode of the branches; the backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()  # its dropout, too
        return self

    def forward(self, x: Tensor) -> AffinityMaps:
        """(B, 3, H, W) normalised images -> maps at stride 4."""
        rows, columns = cells(x)
        features = self.features(x)
        edge = self.edge_logits(features)[..., :rows, :columns]
        displacement = self.displacement(features)[..., :rows, :columns] if self.has_displacement else None
        return AffinityMaps(edge, displacement)

    @torch.no_grad()
    def features(self, x: Tensor, least_side: int = 0) -> list[Tensor]:
        """(B, 3, H, W) -> the stages' maps of the padded image, none finer than stride 4, without a graph."""
        multiple = lcm(STRIDE, *self.backbone.strides)  # sides are padded to one, and to at least `least_side`
        padded = [-(-max(side, least_side) // multiple) * multiple for side in x.shape[-2:]]
        x = pad(x, (0, padded[1] - x.shape[-1], 0, padded[0] - x.shape[-2]))
        size = cells(x)
        maps = self.backbone.stages(x)
        return [adaptive_avg_pool2d(m, size) if m.shape[-2] > size[0] else m for m in maps]

    def edge_logits(self, features: list[Tensor]) -> Tensor:
        """Maps of `features` -> (B, 1, h, w) at stride 4 of the padded image."""
        *branches, output = self._layers("fc_edge")
        size = self._size(features, STRIDE)
        maps = [_relu_at(branch(m), size) for branch, m in zip(branches, features, strict=True)]
        return output(torch.cat(maps, dim=1))

    def displacement(self, features: list[Tensor]) -> Tensor:
        """Maps of `features` -> (B, 2, h, w) at stride 4 of the padded image.

        Without their mean in evaluation only: losses see differences of displacements.
        """
        *branches, join, output = self._layers("fc_dp")
        maps = [branch(m) for branch, m in zip(branches, features, strict=True)]
        size, half = self._size(features, STRIDE), self._size(features, 2 * STRIDE)
        joined = torch.cat([_relu_at(m, half) for m, coarse in zip(maps, self.coarse, strict=True) if coarse], dim=1)
        fine = [_relu_at(m, size) for m, coarse in zip(maps, self.coarse, strict=True) if not coarse]
        field = output(torch.cat([*fine, _relu_at(join(joined), size)], dim=1))
        return field if self.training else field - self.mean_shift.get_buffer("running_mean")[:, None, None]

    def _size(self, features: list[Tensor], stride: int) -> tuple[int, int]:
        """A map's size at that stride; the padded image is whole cells of the last stage."""
        rows, columns = features[-1].shape[-2:]
        return rows * self.backbone.strides[-1] // stride, columns * self.backbone.strides[-1] // stride


def build_affinity_net(backbone: str, weights: str | Weights = "imagenet", displacement: bool = True) -> AffinityNet:
    """An affinity network on `build_backbone(backbone, weights)`, in evaluation mode.

    Its branches are fresh, or those of the weight file, where this is an affinity network's (ours or IRN's).
    """
    loaded = open_weights(weights)
    network = AffinityNet(build_backbone(backbone, loaded), displacement)
    if isinstance(loaded, Weights):
        branches = [("fc_edge",), ("fc_dp", "mean_shift.")]  # the beginnings of the names of each
        for branch in branches if displacement else branches[:1]:
            taken = {name: tensor for name, tensor in loaded.state.items() if name.startswith(branch)}
            if not taken:
                continue
            kept = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(branch)}
            try:
                network.load_state_dict(kept | taken)
            except RuntimeError as error:
                what = f"does not fit the network: {'; '.join(map(str.strip, str(error).splitlines()[1:4]))[:400]}"
                raise UserError(f"{loaded.path} {what}; give a file of this backbone") from error
    return network.eval()


def cells(x: Tensor) -> tuple[int, int]:
    """Rows and columns at stride 4 of images (..., H, W): a cell for each 4 x 4 pixels begun."""
    return -(-x.shape[-2] // STRIDE), -(-x.shape[-1] // STRIDE)


@torch.no_grad()
def boundary(network: AffinityNet, image: Tensor, least_side: int = 0) -> Tensor:
    """The boundary map of a normalised image (3, H, W): sigmoid of the mean logit of image and mirror image.

    (ceil(H / 4), ceil(W / 4)) float32 in 0..1. The image is padded with zeros to at least `least_side`. The statistics
    of group norm include the padding, so this changes all values a little: published maps are padded to the crop size.
    """
    rows, columns = cells(image)
    features = network.features(torch.stack([image, image.flip(-1)]), least_side)
    logits = network.edge_logits(features).float()[:, 0, :rows, :columns]
    return torch.stack([logits[0], logits[1].flip(-1)]).mean(dim=0).sigmoid()


@torch.no_grad()
def displacement(network: AffinityNet, image: Tensor, least_side: int = 0) -> Tensor:
    """The displacement (2, ceil(H / 4), ceil(W / 4)) of an image (3, H, W), float32; arguments as of `boundary`."""
    rows, columns = cells(image)
    return network.displacement(network.features(image[None], least_side)).float()[0, :, :rows, :columns]


def centroids(displacement: Tensor) -> Tensor:
    """Instances 1..N (h, w) int64 from a displacement (2, h, w), (dy, dx) in cells (section 5.1).

    Cells that come to the same cell when they follow it many times are an instance; end cells at most two cells apart
    are one. Background cells belong to instances, too.
    """
    height, width = displacement.shape[1:]
    rows = torch.arange(height, device=displacement.device)[:, None] + displacement[0].round().long()
    columns = torch.arange(width, device=displacement.device) + displacement[1].round().long()
    end = (rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)).flatten()  # after one step, a flat index
    # Each turn doubles the number of steps. It is fixed, since cells may also lead around in a circle for ever.
    for _ in range(CENTROID_DOUBLINGS):
        end = end[end]
    end_of = end.cpu().numpy()  # cell -> the cell where its way ends
    is_end = np.zeros((height, width), np.uint8)
    is_end.flat[end_of] = 1
    # Each end fills 2 x 2 cells, so ends up to two apart touch, if only at a corner.
    _, instances = cv2.connectedComponents(cv2.dilate(is_end, np.ones((2, 2), np.uint8)), connectivity=8)
    return torch.from_numpy(instances.flat[end_of]).long().reshape(height, width).to(displacement.device)


def _branch(channels: int, width: int, groups: int | None = None) -> nn.Sequential:
    """1x1 convolution and group norm: groups of 8 channels, at most 16 of them, as published."""
    return nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.GroupNorm(groups or min(width // 8, 16), width))


def _relu_at(x: Tensor, size: tuple[int, int]) -> Tensor:
    """ReLU of maps (B, D, *, *), resized first, as published: (B, D, *size)."""
    if x.shape[-2:] != size:
        x = interpolate(x, size, mode="bilinear", align_corners=False)
    return relu(x)
