"""A sheet of what the affinity network has learned: images, confident labels, boundaries, and instances."""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from data.artifacts import read_mask, voc_palette
from data.dataset import Index
from data.inspection import spread
from models.affinity import AffinityNet, boundary, centroids, displacement
from stages.files import AFFINITY_SHEET, CONFIDENT
from stages.reading import prepare
from stages.settings import Config
from utils.compute import Compute
from utils.files import atomic_path
from utils.ignore import IGNORE
from utils.run import Run
from utils.visualize import Tile, bright_palette, contact_sheet, heatmap, overlay

EXAMPLES = 8  # images, spread evenly over the list
FULL_LENGTH = 20.0  # cells of displacement that are drawn in full colour


def draw_affinity(cfg: Config, network: AffinityNet, compute: Compute, index: Index, run: Run) -> None:
    """Write the sheet of a network in evaluation mode for images of the seed list; it reads them as for the walk."""
    rows = []
    least_side = cfg.part("affinity_training").crop_size
    for record in spread(index.records, EXAMPLES):
        image = np.array(record.read_image())
        pixels = prepare(torch.from_numpy(image).permute(2, 0, 1), network, compute, cfg.part("affinity"))
        confident = read_mask(run.path(CONFIDENT) / f"{record.name}.png")
        with compute.autocast():
            edge = boundary(network, pixels, least_side=least_side).float().cpu()
            field = displacement(network, pixels, least_side).float().cpu() if network.has_displacement else None
        row = [Tile(image, ", ".join(index.class_names[label] for label in record.labels))]
        row.append(Tile(overlay(image, confident, voc_palette()), "confident labels, the rest hatched"))
        row.append(Tile(heatmap(image, edge.numpy()), "boundary"))
        if field is not None:
            row.append(Tile(direction_image(field), "displacement by direction"))
            row.append(Tile(overlay(image, instance_mask(field, confident), bright_palette()), "instances"))
        rows.append(row)
    with atomic_path(run.path(AFFINITY_SHEET)) as temporary:
        contact_sheet(rows, tile=230).save(temporary, quality=88)


def direction_image(field: Tensor) -> np.ndarray:
    """A displacement (2, h, w) as colours: hue its direction, strength its length; (h, w, 3) uint8 RGB."""
    angle = torch.rad2deg(torch.atan2(field[0], field[1])) % 360
    length = (field.square().sum(dim=0).sqrt() / FULL_LENGTH).clamp(0, 1)
    hue = torch.stack([angle / 2, 255 * length, torch.full_like(length, 255)], dim=-1)
    return cv2.cvtColor(hue.to(torch.uint8).numpy(), cv2.COLOR_HSV2RGB)


def instance_mask(field: Tensor, labels: np.ndarray) -> np.ndarray:
    """Instances 1..254 of the labelled objects, the largest first, at the labels' size (H, W); elsewhere 0."""
    instances = interpolate(centroids(field)[None, None].float(), labels.shape, mode="nearest")[0, 0].long().numpy()
    objects = (labels > 0) & (labels != IGNORE)
    found, counts = np.unique(instances[objects], return_counts=True)
    mask = np.zeros(labels.shape, np.uint8)
    for rank, instance in enumerate(found[np.argsort(-counts)][: IGNORE - 1]):
        mask[objects & (instances == instance)] = rank + 1
    return mask
