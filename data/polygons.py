"""Regions of pixels as polygons, for formats that know outlines only.

A polygon runs along the *edges* of pixels: pixel (x, y) is the square from (x, y) to (x + 1, y + 1). So a line one
pixel wide has an area, and pycocotools, whose polygons are of this kind, gives the same pixels back. Contours through
pixel centres, as `cv2.findContours` gives them, would lose half a pixel on each side, and thin objects whole.

Outlines are stairs, and are smoothed where that keeps the part (`LEAST_IOU`).

Holes: these formats have none, and a second polygon would be added, not taken away. So a hole is joined to its outline
by a cut of no width, there and back: one polygon, which the even-odd and the non-zero rule both fill without the hole.
"""

import cv2
import numpy as np
import pycocotools.mask

TOLERANCES = (1.0, 0.7, 0.5)  # pixels that a smoothed outline may leave the middle of the stairs by; tried in turn
LEAST_IOU = 0.98  # of a smoothed part with its pixels


def region_polygons(region: np.ndarray) -> list[np.ndarray]:
    """Polygons that together cover a region (H, W) bool.

    For each connected part a closed outline (N, 2) float64, N >= 3, of x in 0..W and y in 0..H in halves; the last
    point is joined to the first. Read back by pycocotools, each part has at least `LEAST_IOU` with its pixels.
    """
    # Twice as large, a pixel has a first and a second half, so a contour tells its left edge from its right one.
    doubled = np.kron(region.astype(np.uint8), np.ones((2, 2), np.uint8)).astype(np.uint8)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [_corners(contour) for contour in contours]
    parts: dict[int, list[np.ndarray]] = {}
    for number, (_, _, _, parent) in enumerate(hierarchy[0] if len(contours) else ()):
        parts.setdefault(number if parent < 0 else int(parent), []).append(rings[number])
    # A hole may come before its outline in the list, but never has the larger box.
    return [_polygon(sorted(part, key=lambda ring: np.ptp(ring, 0).prod(), reverse=True)) for part in parts.values()]


def fill_polygons(polygons: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """(H, W) bool: the pixels of polygons as pycocotools draws them; none gives an empty region."""
    if not polygons:
        return np.zeros((height, width), bool)
    packed = pycocotools.mask.frPyObjects([polygon.ravel().tolist() for polygon in polygons], height, width)
    return pycocotools.mask.decode(pycocotools.mask.merge(packed)) > 0


def _corners(contour: np.ndarray) -> np.ndarray:
    """A contour through the pixels of the doubled region (N, 1, 2) -> the pixel corners that it turns at (M, 2)."""
    points = (contour[:, 0].astype(np.int64) + 1) // 2
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    return points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def _polygon(rings: list[np.ndarray]) -> np.ndarray:
    """An outline and its holes as one polygon, smoothed where that keeps the part."""
    low = rings[0].min(axis=0)
    width, height = rings[0].max(axis=0) - low
    exact = _join(rings).astype(np.float64)
    pixels = fill_polygons([exact - low], height, width)
    middles = [_middles(ring) for ring in rings]
    for tolerance in TOLERANCES:
        smooth = [cv2.approxPolyDP(ring, tolerance, closed=True)[:, 0] for ring in middles]
        if len(smooth[0]) < 3:
            continue
        joined = _join([ring for ring in smooth if len(ring) >= 3]).astype(np.float64)
        filled = fill_polygons([joined - low], height, width)
        if (filled & pixels).sum() >= LEAST_IOU * (filled | pixels).sum():
            return joined
    return exact


def _middles(ring: np.ndarray) -> np.ndarray:
    """The middle of each pixel side along an outline of corners (N, 2), (M, 2) float32: a slope has no stairs."""
    sides = np.roll(ring, -1, axis=0) - ring
    lengths = np.abs(sides).sum(axis=1)
    number = np.repeat(np.arange(len(ring)), lengths)
    along = np.arange(len(number)) - (np.cumsum(lengths) - lengths)[number] + 0.5
    return (ring[number] + np.sign(sides)[number] * along[:, None]).astype(np.float32)


def _join(rings: list[np.ndarray]) -> np.ndarray:
    """The holes (all rings but the first) joined to the outline, each by a cut to its nearest corner."""
    outline = rings[0]
    starts = [int(np.abs(outline - hole[0]).sum(axis=1).argmin()) for hole in rings[1:]]
    pieces, done = [], 0
    for number in np.argsort(starts, kind="stable"):
        start, hole = starts[number], rings[number + 1]
        pieces += [outline[done : start + 1], hole, hole[:1]]
        done = start  # the corner that the cut began at is its end, too
    return np.concatenate([*pieces, outline[done:]])
