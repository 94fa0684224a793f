"""What the demo's drawings are made of: a frame of coordinates, distance fields, patterns, colours, layers, a scene.

A distance field is negative inside a form. Rotation, scale and bending are a change of coordinates, edges are
anti-aliased, and an object's mask is exact.
"""

import colorsys
import math
from dataclasses import dataclass

import cv2
import numpy as np

Field = np.ndarray  # (H, W), a value for each pixel


@dataclass(frozen=True)
class Frame:
    """One drawing's place in an image."""

    u: Field  # the drawing's own coordinates of each pixel, bent a little at random
    v: Field
    pixel: float  # side of a pixel in those coordinates
    random: np.random.Generator  # where the drawing's own variations come from

    def cover(self, distance: np.ndarray) -> np.ndarray:
        """Coverage of pixels by the inside (negative side) of a distance field."""
        return np.clip(0.5 - distance / self.pixel, 0, 1)

    def stripes(self, t: np.ndarray, period: float) -> np.ndarray:
        """Coverage in 0..1 by stripes along t, half of each period."""
        return self.cover(stripe_field(t, period))


# The origin (x, y) in pixels, pixels to the unit, the turn in degrees, and whether it is mirrored.
Pose = tuple[tuple[float, float], float, float, bool]


def make_frame(height: int, width: int, pose: Pose, bend: float, random: np.random.Generator) -> Frame:
    """A frame with that pose, bent by `bend` units."""
    centre, scale, angle, flip = pose
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = (x - centre[0]) / scale, (y - centre[1]) / scale
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    u, v = cosine * x + sine * y, cosine * y - sine * x
    u = -u if flip else u
    u = u + bend * noise(height, width, scale, random)
    v = v + bend * noise(height, width, scale, random)
    return Frame(u, v, 1 / scale, random)


def noise(height: int, width: int, unit: float, random: np.random.Generator) -> np.ndarray:
    """(H, W) noise about -1..1 that varies over about `unit` pixels."""
    rows, columns = (int(side / unit) + 4 for side in (height, width))
    coarse = random.uniform(-1, 1, (rows, columns)).astype(np.float32)
    shift_y, shift_x = random.uniform(0.5, 1.5, 2)
    matrix = np.array([[1 / unit, 0, shift_x], [0, 1 / unit, shift_y]], np.float32)
    return cv2.warpAffine(coarse, matrix, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)


def disc(u: np.ndarray, v: np.ndarray, centre_u: float, centre_v: float, radius: float) -> np.ndarray:
    """Of a disc; radius 0 gives the distance from a point."""
    return np.hypot(u - centre_u, v - centre_v) - radius


def box(u: Field, v: Field, centre_u: float, centre_v: float, half_u: float, half_v: float, corner: float) -> Field:
    """Of a box with corners rounded by `corner`."""
    a, b = np.abs(u - centre_u) - half_u + corner, np.abs(v - centre_v) - half_v + corner
    return np.hypot(np.maximum(a, 0), np.maximum(b, 0)) + np.minimum(np.maximum(a, b), 0) - corner


def capsule(u: Field, v: Field, start: tuple[float, float], end: tuple[float, float], radius: float) -> Field:
    """Of everything nearer than `radius` to the line from `start` to `end`."""
    du, dv = end[0] - start[0], end[1] - start[1]
    along = np.clip(((u - start[0]) * du + (v - start[1]) * dv) / (du * du + dv * dv), 0, 1)
    return np.hypot(u - start[0] - along * du, v - start[1] - along * dv) - radius


def polygon(u: np.ndarray, v: np.ndarray, corners: list[tuple[float, float]]) -> np.ndarray:
    """Of the inside of a polygon, whose sides may cross."""
    distance = np.full(u.shape, np.inf, np.float32)
    inside = np.zeros(u.shape, bool)
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        distance = np.minimum(distance, capsule(u, v, start, end, 0.0))
        if start[1] != end[1]:
            crossing = (v < start[1]) != (v < end[1])
            inside ^= crossing & (u < start[0] + (v - start[1]) * (end[0] - start[0]) / (end[1] - start[1]))
    return np.where(inside, -distance, distance)


def stripe_field(t: np.ndarray, period: float, share: float = 0.5) -> np.ndarray:
    """Distance field of stripes along t that cover that share of each period."""
    phase = t / period
    return (np.abs(phase - np.floor(phase) - 0.5) - 0.5 * share) * period


def rgb(red: float, green: float, blue: float) -> np.ndarray:
    """(3,) float32 of values in 0..1."""
    return np.array([red, green, blue], np.float32)


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """(3,) RGB in 0..1 of hue, saturation and value in 0..1."""
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32)


def mix(first: np.ndarray, second: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """`share` of the second colour, the rest of the first."""
    return first * (1 - share) + second * share


def shaded(colour: np.ndarray, down: np.ndarray, distance: np.ndarray, gloss: float = 0.12) -> np.ndarray:
    """Light from above, darker towards the rim, with a thin outline."""
    light = 1 + gloss * np.clip(-down, -1, 1) - 0.45 * np.exp(np.minimum(distance, 0) / 0.045)
    return np.clip(colour * light[..., None], 0, 1)


# Coverage (H, W) in 0..1 and colour (3,) or (H, W, 3) in 0..1, painted one over the other.
Layer = tuple[np.ndarray, np.ndarray]


def paint(canvas: np.ndarray, layers: list[Layer]) -> np.ndarray:
    """Paint layers onto the (H, W, 3) canvas in place; returns (H, W) how much of each pixel they hide."""
    shown = np.ones(canvas.shape[:2], np.float32)
    for alpha, colour in layers:
        canvas += alpha[..., None] * (colour - canvas)
        shown *= 1 - alpha
    return 1 - shown


def background(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """A neutral (H, W, 3) scene: a gradient or a hilly horizon, cloth or stone grain, and a few blobs."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(height, width)
    hue = random.random()
    shifts = (0, random.uniform(-0.2, 0.2))
    first, second = (hsv((hue + s) % 1, random.uniform(0.12, 0.42), random.uniform(0.55, 0.9)) for s in shifts)
    angle = random.uniform(0, math.pi)
    ramp = np.clip(0.5 + math.cos(angle) * (x - 0.5) + math.sin(angle) * (y - 0.5), 0, 1)[..., None]
    canvas = first * (1 - ramp) + second * ramp
    unit = max(height, width) / 2
    if random.random() < 0.5:  # hills
        for _ in range(random.integers(1, 4)):
            ridge = random.uniform(0.35, 0.9) + 0.12 * noise(1, width, unit, random)
            hill = hsv(random.random(), random.uniform(0.1, 0.35), random.uniform(0.4, 0.8))
            paint(canvas, [(np.clip((y - ridge) * max(height, width), 0, 1) * 0.85, hill)])
    for _ in range(random.integers(2, 6)):
        centre, angle = (random.uniform(0, width), random.uniform(0, height)), random.uniform(0, 360)
        frame = make_frame(height, width, (centre, unit, angle, False), 0.2, random)
        paint(canvas, _blob(frame))
    grain = noise(height, width, random.uniform(2, 16), random) * random.uniform(0.02, 0.09)
    grain += noise(height, width, unit, random) * random.uniform(0.0, 0.12)
    if random.random() < 0.3:  # woven cloth
        waves = 2 * math.pi * max(height, width) / random.uniform(4, 9)
        grain += 0.035 * np.sin(x * waves) * np.sin(y * waves)
    return np.clip(canvas + grain[..., None], 0, 1).astype(np.float32)


def _blob(frame: Frame) -> list[Layer]:
    u, v, random = frame.u, frame.v, frame.random
    colour = hsv(random.random(), random.uniform(0.1, 0.5), random.uniform(0.35, 0.95))
    size = random.uniform(0.08, 0.3)
    shapes = (
        lambda: disc(u, v, 0, 0, size),
        lambda: box(u, v, 0, 0, size, size * random.uniform(0.3, 1), 0.05),
        lambda: polygon(u, v, [(-size, -size * 0.6), (size, -size * 0.5), (0, size)]) - 0.03,
        lambda: capsule(u, v, (-size, 0), (size, 0), size * 0.4),
    )
    distance = shapes[random.integers(len(shapes))]()
    period = random.uniform(0.06, 0.14)
    pattern = (np.zeros_like(u), frame.stripes(u, period), frame.stripes(u, period) * frame.stripes(v, period))
    texture = pattern[random.integers(len(pattern))][..., None]
    return [(frame.cover(distance) * random.uniform(0.6, 1), shaded(colour * (1 - 0.2 * texture), v / size, distance))]
