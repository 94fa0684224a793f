import numpy as np
import pytest

from data import polygons as polygons_module
from data.polygons import LEAST_IOU, fill_polygons, region_polygons


def random_regions(count: int) -> list[np.ndarray]:
    """Noise of every density, at most 24 by 24: single pixels, diagonals, rings in rings."""
    random = np.random.default_rng(0)
    return [random.random(random.integers(1, 24, 2)) < random.random() for _ in range(count)]


def disc(radius: int, centre: tuple[int, int] = (50, 60), size: tuple[int, int] = (100, 120)) -> np.ndarray:
    rows, columns = np.indices(size)
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2


def shapes() -> dict[str, np.ndarray]:
    line, diagonal, comb = (np.zeros((100, 120), bool) for _ in range(3))
    line[40, 5:110] = True
    diagonal[np.arange(90), np.arange(90) + 10] = True
    comb[10:90, 10:110:4] = True
    comb[10, 10:110] = True
    target = (disc(45) & ~disc(35)) | (disc(20) & ~disc(8))
    round_ones = {"disc": disc(40), "ring": disc(40) & ~disc(25), "thin ring": disc(40) & ~disc(39), "target": target}
    thin_ones = {"pixel": disc(1), "line": line, "diagonal": diagonal, "comb": comb}
    return round_ones | thin_ones | {"border": ~disc(30), "everything": np.ones((100, 120), bool)}


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / max(1, (one | other).sum())


def signed_area(polygon: np.ndarray) -> float:
    """Shoelace formula: the area that the non-zero rule fills, where no part is wound twice."""
    x, y = polygon.T.astype(float)
    return 0.5 * float(x @ np.roll(y, -1) - np.roll(x, -1) @ y)


def test_smoothed_polygons_keep_to_their_pixels_and_unsmoothed_ones_are_the_very_pixels(monkeypatch):
    for least, regions in ((0.97, random_regions(60)), (LEAST_IOU, shapes().values())):
        for region in regions:
            assert iou(fill_polygons(region_polygons(region), *region.shape), region) >= (least if region.any() else 0)
    monkeypatch.setattr(polygons_module, "TOLERANCES", ())
    assert region_polygons(np.zeros((5, 7), bool)) == []
    for region in [*random_regions(60), *shapes().values()]:
        found = region_polygons(region)
        assert np.array_equal(fill_polygons(found, *region.shape), region)
        assert abs(sum(map(signed_area, found))) == region.sum()  # holes are wound the other way round
        assert all(len(polygon) >= 4 for polygon in found)


def test_parts_and_rings_are_polygons_of_their_own_and_a_round_outline_is_smoothed(monkeypatch):
    target = shapes()["target"]
    sizes = sorted(int(fill_polygons([polygon], *target.shape).sum()) for polygon in region_polygons(target))
    assert sizes == pytest.approx([(disc(20) & ~disc(8)).sum(), (disc(45) & ~disc(35)).sum()], rel=0.03)
    smooth = region_polygons(shapes()["ring"])
    monkeypatch.setattr(polygons_module, "TOLERANCES", ())
    stairs = region_polygons(shapes()["ring"])
    assert len(smooth) == len(stairs) == 1
    assert len(smooth[0]) < len(stairs[0]) / 3
