"""A sheet of what the affinity network has learned: image, confident labels, boundary, and instances where it has them."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from data.artifacts import read_mask, voc_palette
from data.dataset import Index
from models.affinity import AffinityMaps, AffinityNet, boundary, centroids, displacement
from stages.reading import prepare
from utils.compute import Compute
from utils.files import atomic_path
from utils.ignore import IGNORE
from utils.visualize import Tile, bright_palette, contact_sheet, heatmap, overlay

EXAMPLES = 8  # images, spread evenly over the list
FULL_LENGTH = 20.0  # cells of displacement that are drawn in full colour


@dataclass(frozen=True)
class AffinityView:
    """An affinity network in evaluation mode; images are made as small as `max_side` and padded to `least_side`, as for the walk."""

    network: AffinityNet
    compute: Compute
    max_side: int
    least_side: int


def draw_affinity(path: Path, view: AffinityView, index: Index, labels: Path) -> None:
    """Write the sheet.

    Args:
        index: the seed list.
        labels: the folder of confident labels `ID.png`.
    """
    places = np.unique(np.linspace(0, len(index) - 1, min(len(index), EXAMPLES)).round().astype(int))
    rows = []
    for place in places:
        record = index.records[place]
        image = np.array(record.read_image())
        maps = read_affinity(view, image)
        confident = read_mask(labels / f"{record.name}.png")
        names = ", ".join(index.class_names[label] for label in record.labels)
        row = [
            Tile(image, names),
            Tile(overlay(image, confident, voc_palette()), "confident labels, the rest hatched"),
            Tile(heatmap(image, maps.edge.numpy()), "boundary"),
        ]
        if maps.displacement is not None:
            row.append(Tile(direction_image(maps.displacement), "displacement by direction"))
            row.append(Tile(overlay(image, instance_mask(maps.displacement, confident), bright_palette()), "instances"))
        rows.append(row)
    with atomic_path(path) as temporary:
        contact_sheet(rows, tile=230).save(temporary, quality=88)


def read_affinity(view: AffinityView, image: np.ndarray) -> AffinityMaps:
    """Boundary (H4, W4) in 0..1 and displacement (2, H4, W4) or None of one (H, W, 3) uint8 image, on the CPU."""
    pixels = prepare(torch.from_numpy(image).permute(2, 0, 1), view.network, view.compute, view.max_side)
    with view.compute.autocast():
        edge = boundary(view.network, pixels, least_side=view.least_side)
        way = displacement(view.network, pixels, view.least_side) if view.network.has_displacement else None
    return AffinityMaps(edge.float().cpu(), None if way is None else way.float().cpu())


def direction_image(way: Tensor) -> np.ndarray:
    """A displacement (2, h, w) as colours: hue its direction, strength its length; (h, w, 3) uint8 RGB."""
    angle = torch.rad2deg(torch.atan2(way[0], way[1])) % 360
    length = (way.square().sum(dim=0).sqrt() / FULL_LENGTH).clamp(0, 1)
    hue = torch.stack([angle / 2, 255 * length, torch.full_like(length, 255)], dim=-1)
    return cv2.cvtColor(hue.to(torch.uint8).numpy(), cv2.COLOR_HSV2RGB)


def instance_mask(way: Tensor, labels: np.ndarray) -> np.ndarray:
    """Instances of the labelled objects, numbered 1..254 by size, at the labels' size (H, W); background and unsure are 0."""
    numbers = interpolate(centroids(way)[None, None].float(), labels.shape, mode="nearest")[0, 0].long().numpy()
    objects = (labels > 0) & (labels != IGNORE)
    found, counts = np.unique(numbers[objects], return_counts=True)
    mask = np.zeros(labels.shape, np.uint8)
    for rank, number in enumerate(found[np.argsort(-counts)][: IGNORE - 1]):
        mask[objects & (numbers == number)] = rank + 1
    return mask
