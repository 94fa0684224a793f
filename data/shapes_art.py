"""The drawings of the demo dataset: six objects, the context that each is usually seen with, and neutral backgrounds.

Everything is a signed distance field in a drawing's own coordinates (u right, v down, the object about 2 wide), so that
rotation, scale and bending are a change of coordinates, edges are anti-aliased and an object's mask is exact.

An object is a **body** (texture and outline are typical of the class, the colour varies) and a small **telling part**
(a face or an emblem that no other class has). A context lies next to the object and never belongs to its mask.
"""

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

INK = np.array([0.10, 0.09, 0.13], np.float32)
CREAM = np.array([0.98, 0.95, 0.86], np.float32)

# Coverage (H, W) in 0..1 and colour (3,) or (H, W, 3) in 0..1, painted one over the other.
Layer = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Frame:
    """One drawing's place in a picture.

    Attributes:
        u, v: (H, W) the drawing's own coordinates of each pixel, bent a little at random.
        pixel: side of a pixel in those coordinates.
        random: where the drawing's own variations come from.
    """

    u: np.ndarray
    v: np.ndarray
    pixel: float
    random: np.random.Generator

    def cover(self, distance: np.ndarray) -> np.ndarray:
        """Coverage of pixels by the inside (negative side) of a distance field."""
        return np.clip(0.5 - distance / self.pixel, 0, 1)


@dataclass(frozen=True)
class Drawing:
    """A class of the demo: its name, what it is seen with, how both are drawn, and how far it may lean (degrees)."""

    name: str
    context_name: str
    draw: Callable[[Frame], list[Layer]]
    draw_context: Callable[[Frame], list[Layer]]
    lean: float


def make_frame(height: int, width: int, centre: tuple[float, float], scale: float, angle: float, flip: bool,
               bend: float, random: np.random.Generator) -> Frame:  # fmt: skip
    """A frame with its origin at `centre` (x, y), `scale` pixels to the unit, turned by `angle` degrees, bent by `bend` units."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = (x - centre[0]) / scale, (y - centre[1]) / scale
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    u, v = cosine * x + sine * y, cosine * y - sine * x
    u = -u if flip else u
    u = u + bend * smooth_noise(height, width, scale, random)
    v = v + bend * smooth_noise(height, width, scale, random)
    return Frame(u, v, 1 / scale, random)


def paint(canvas: np.ndarray, layers: list[Layer]) -> np.ndarray:
    """Paint layers onto the (H, W, 3) canvas in place; returns (H, W) how much of each pixel they hide."""
    shown = np.ones(canvas.shape[:2], np.float32)
    for alpha, colour in layers:
        canvas += alpha[..., None] * (colour - canvas)
        shown *= 1 - alpha
    return 1 - shown


def background(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """A neutral (H, W, 3) scene: a gradient or a hilly horizon, cloth or stone grain, and a few blobs that mean nothing."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(height, width)
    hue = random.random()
    first, second = (_colour((hue + shift) % 1, random.uniform(0.12, 0.42), random.uniform(0.55, 0.9))
                     for shift in (0, random.uniform(-0.2, 0.2)))  # fmt: skip
    angle = random.uniform(0, math.pi)
    ramp = np.clip(0.5 + math.cos(angle) * (x - 0.5) + math.sin(angle) * (y - 0.5), 0, 1)[..., None]
    canvas = first * (1 - ramp) + second * ramp
    unit = max(height, width) / 2
    if random.random() < 0.5:  # hills
        for _ in range(random.integers(1, 4)):
            ridge = random.uniform(0.35, 0.9) + 0.12 * smooth_noise(1, width, unit, random)
            hill = _colour(random.random(), random.uniform(0.1, 0.35), random.uniform(0.4, 0.8))
            paint(canvas, [(np.clip((y - ridge) * max(height, width), 0, 1) * 0.85, hill)])
    for _ in range(random.integers(2, 6)):
        frame = make_frame(height, width, (random.uniform(0, width), random.uniform(0, height)), unit,
                           random.uniform(0, 360), False, 0.2, random)  # fmt: skip
        paint(canvas, _blob(frame))
    grain = smooth_noise(height, width, random.uniform(2, 16), random) * random.uniform(0.02, 0.09)
    grain += smooth_noise(height, width, unit, random) * random.uniform(0.0, 0.12)
    if random.random() < 0.3:  # woven cloth
        waves = 2 * math.pi * max(height, width) / random.uniform(4, 9)
        grain += 0.035 * np.sin(x * waves) * np.sin(y * waves)
    return np.clip(canvas + grain[..., None], 0, 1).astype(np.float32)


def smooth_noise(height: int, width: int, unit: float, random: np.random.Generator) -> np.ndarray:
    """(H, W) noise about -1..1 that varies over about `unit` pixels."""
    rows, columns = (int(side / unit) + 4 for side in (height, width))
    coarse = random.uniform(-1, 1, (rows, columns)).astype(np.float32)
    shift_y, shift_x = random.uniform(0.5, 1.5, 2)
    matrix = np.array([[1 / unit, 0, shift_x], [0, 1 / unit, shift_y]], np.float32)
    return cv2.warpAffine(coarse, matrix, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)


# --- the six objects -------------------------------------------------------------------------------------------------


def _train(frame: Frame) -> list[Layer]:
    """A carriage with windows; telling part: the front with chevrons and headlights."""
    u, v, random = frame.u, frame.v, frame.random
    length, tall = random.uniform(0.95, 1.1), random.uniform(0.36, 0.44)
    hue = random.random()
    paint_colour = _colour(hue, random.uniform(0.45, 0.75), random.uniform(0.55, 0.85))
    body = _box(u, v, 0, 0, length, tall, 0.16)
    wheels = np.minimum.reduce([_disc(u, v, place * length, tall, 0.11) for place in (-0.75, -0.45, 0.4, 0.7)])
    panels = _stripes(u, 0.085, frame)
    colour = _shaded(paint_colour * (1 - 0.16 * panels[..., None]), v / tall, body)
    window_pitch = length * 0.27
    along = (u + length) % window_pitch - window_pitch / 2
    windows = np.maximum(
        _box(along, v, 0, -0.1, window_pitch * 0.33, 0.11, 0.03), np.abs(u + 0.2 * length) - 0.66 * length
    )
    front = np.maximum(body + 0.02, length * 0.58 - u)
    chevrons = _stripes(np.abs(v) * 1.1 + u, 0.15, frame)[..., None]
    lamps = np.minimum(_disc(u, v, length * 0.8, 0.2, 0.075), _disc(u, v, length * 0.8, -0.2, 0.075))
    return [
        (frame.cover(wheels), INK * 1.6),
        (frame.cover(body), colour),
        (frame.cover(windows), _mix(paint_colour, np.float32([0.75, 0.88, 0.95]), 0.65)),
        (frame.cover(front), _mix(np.float32([0.98, 0.80, 0.10]), INK, chevrons)),
        (frame.cover(lamps - 0.035), INK),
        (frame.cover(lamps), CREAM),
    ]


def _rails(frame: Frame) -> list[Layer]:
    """A track bed with sleepers and two rails, across the picture."""
    u, v = frame.u, frame.v
    bed = np.abs(v - 0.80) - 0.30
    gravel = 0.5 + 0.16 * smooth_noise(*u.shape, 2.2, frame.random)[..., None] * np.ones(3, np.float32)
    sleepers = np.maximum(_stripe_field(u + 0.25 * v, 0.22), np.abs(v - 0.79) - 0.22)
    steel = np.minimum(np.abs(v - 0.66), np.abs(v - 0.92)) - 0.032
    return [
        (frame.cover(bed) * 0.9, gravel),
        (frame.cover(sleepers), np.float32([0.36, 0.25, 0.18])),
        (frame.cover(steel), np.float32([0.80, 0.82, 0.86])),
    ]


def _boat(frame: Frame) -> list[Layer]:
    """A hull and a panelled sail; telling part: the compass star on the sail."""
    u, v, random = frame.u, frame.v, frame.random
    cloth = _colour(random.random(), random.uniform(0.3, 0.6), random.uniform(0.75, 0.95))
    wood = _mix(cloth * 0.6, np.float32([0.50, 0.32, 0.20]), 0.4)
    sail = _polygon(u, v, [(-0.05 + random.uniform(-0.08, 0.08), -1.0), (0.78, 0.38), (-0.72, 0.38)]) - 0.03
    hull = _polygon(u, v, [(-0.95, 0.45), (0.98, 0.45), (0.62, 0.82), (-0.62, 0.82)]) - 0.03
    mast = _box(u, v, -0.02, 0.4, 0.035, 0.12, 0.0)
    seams = _stripes(v + 0.25 * u, 0.17, frame)[..., None]
    planks = _stripes(v, 0.12, frame)[..., None]
    centre_u, centre_v = u - 0.0, v - 0.06
    radius, turn = np.hypot(centre_u, centre_v), np.arctan2(centre_v, centre_u)
    badge = radius - 0.29
    star = radius - 0.14 - 0.12 * np.cos(8 * turn)
    return [
        (frame.cover(mast), INK * 2),
        (frame.cover(sail), _shaded(cloth * (1 - 0.14 * seams), u, sail)),
        (frame.cover(hull), _shaded(wood * (1 - 0.2 * planks), (v - 0.6) * 3, hull)),
        (frame.cover(badge), INK),
        (frame.cover(badge + 0.04), CREAM),
        (frame.cover(star), np.float32([0.85, 0.12, 0.18])),
        (frame.cover(radius - 0.06), INK),
    ]


def _water(frame: Frame) -> list[Layer]:
    """A strip of rippled water below the keel."""
    u, v = frame.u, frame.v
    surface = 0.62 + 0.03 * np.sin(u * 9)
    inside = np.maximum(surface - v, v - 1.5)
    ripples = _stripes(v + 0.035 * np.sin(u * 14 + 5 * v), 0.125, frame)[..., None]
    water = _mix(np.float32([0.16, 0.42, 0.62]), np.float32([0.72, 0.90, 0.95]), ripples * 0.75)
    return [(frame.cover(inside) * 0.95, water)]


def _beetle(frame: Frame) -> list[Layer]:
    """Ridged wing cases and legs; telling part: the neck shield with two ringed eye spots."""
    u, v, random = frame.u, frame.v, frame.random
    shell = _colour(random.random(), random.uniform(0.55, 0.85), random.uniform(0.45, 0.75))
    length = random.uniform(0.78, 0.9)
    case = _ellipse(u, v, 0.0, 0.12, random.uniform(0.56, 0.66), length)
    neck = _ellipse(u, v, 0.0, -0.62, 0.46, 0.27)
    head = _ellipse(u, v, 0.0, -0.88, 0.22, 0.16)
    legs = np.minimum.reduce([_capsule(np.abs(u), v, (0.35, start), (0.9, end), 0.06)
                              for start, end in ((-0.35, -0.55), (0.1, 0.12), (0.5, 0.8))])  # fmt: skip
    ridges = _stripes(u / (0.35 + 0.65 * np.sqrt(np.clip(1 - ((v - 0.12) / length) ** 2, 0, 1))), 0.15, frame)[
        ..., None
    ]
    seam = np.abs(u) - 0.018
    spots = _disc(np.abs(u), v, 0.22, -0.62, 0.0)
    return [
        (frame.cover(legs), INK * 1.5),
        (frame.cover(head), INK * 1.5),
        (frame.cover(case), _shaded(shell * (1 - 0.3 * ridges), v, case, gloss=0.35)),
        (frame.cover(np.maximum(seam, case)), shell * 0.35),
        (frame.cover(neck), _mix(shell * 0.45, INK, 0.4)),
        (frame.cover(spots - 0.19), np.float32([0.99, 0.55, 0.10])),
        (frame.cover(spots - 0.145), INK),
        (frame.cover(spots - 0.10), CREAM),
        (frame.cover(spots - 0.05), INK),
    ]


def _leaf(frame: Frame) -> list[Layer]:
    """A large veined leaf that the beetle sits on."""
    u, v = frame.u, frame.v
    side = 0.55
    a, b = 0.94 * (u - side) + 0.34 * (v - 0.2), 0.94 * (v - 0.2) - 0.34 * (u - side)
    half_width = 0.74 * np.cos(np.clip(a / 1.45, -1, 1) * math.pi / 2)
    blade = np.maximum(np.abs(b) - half_width, np.abs(a) - 1.45)
    veins = np.minimum(_stripe_field(a - 0.7 * np.abs(b), 0.2, 0.25), np.abs(b) - 0.03)
    green = _colour(frame.random.uniform(0.24, 0.36), 0.6, frame.random.uniform(0.45, 0.65))
    veined = _mix(green, _mix(green, CREAM, 0.65), frame.cover(veins)[..., None])
    return [(frame.cover(blade), _shaded(veined, b, blade))]


def _fish(frame: Frame) -> list[Layer]:
    """A scaly body with fins; telling part: the banded head with its eye."""
    u, v, random = frame.u, frame.v, frame.random
    skin = _colour(random.random(), random.uniform(0.4, 0.7), random.uniform(0.65, 0.9))
    depth = random.uniform(0.44, 0.56)
    body = _ellipse(u, v, 0.1, 0, 0.85, depth)
    tail = _polygon(u, v, [(-0.62, 0), (-1.1, -0.42), (-0.98, 0.0), (-1.1, 0.42)]) - 0.03
    fins = np.minimum(_polygon(u, v, [(-0.35, -depth * 0.8), (-0.2, -depth - 0.22), (0.4, -depth * 0.8)]) - 0.03,
                      _polygon(u, v, [(-0.1, depth * 0.8), (-0.15, depth + 0.2), (0.3, depth * 0.85)]) - 0.03)  # fmt: skip
    rays = _stripes(u + 0.6 * v, 0.09, frame)[..., None]
    scales = _scallops(v, u, 0.2)[..., None]
    head = np.maximum(body + 0.015, 0.48 + 0.2 * (v / depth) ** 2 - u)
    bands = _stripes(u + 0.2 * (v / depth) ** 2, 0.155, frame)[..., None]
    eye = _disc(u, v, 0.7, -0.09, 0.0)
    return [
        (frame.cover(np.minimum(tail, fins)), skin * (0.72 - 0.2 * rays)),
        (frame.cover(body), _shaded(skin * (1.05 - 0.42 * scales), v / depth, body)),
        (frame.cover(head), _mix(CREAM, np.float32([0.10, 0.12, 0.42]), bands)),
        (frame.cover(eye - 0.12), np.float32([0.98, 0.82, 0.1])),
        (frame.cover(eye - 0.065), INK),
    ]


def _seaweed(frame: Frame) -> list[Layer]:
    """Wavy fronds and bubbles beside and below the fish."""
    u, v, random = frame.u, frame.v, frame.random
    colour = _colour(random.uniform(0.40, 0.50), 0.65, random.uniform(0.4, 0.6))
    layers = []
    for number in range(10):
        place, top, lean = -1.25 + 0.27 * number, random.uniform(0.1, 0.55), random.uniform(-0.25, 0.25)
        if abs(place) < 0.9:
            top += 0.3
        depth = np.clip((v - top) / (1.5 - top), 0, 1)
        stem = u - place + lean * (1 - depth) - 0.05 * np.sin(v * 11 + random.uniform(0, 6))
        blade = np.maximum(np.abs(stem) - 0.1 * np.sqrt(depth), np.maximum(top - v, v - 1.5))
        leaflets = _stripe_field(v - 0.9 * np.abs(stem), 0.1, 0.4)
        green = _mix(colour, CREAM, frame.cover(leaflets)[..., None] * 0.45) * random.uniform(0.75, 1.1)
        layers.append((frame.cover(blade), green))
    for _ in range(7):
        bubble = np.abs(
            _disc(u, v, random.uniform(-1.2, 1.4), random.uniform(-0.2, 0.5) + 0.5, random.uniform(0.04, 0.09))
        )
        layers.append((frame.cover(bubble - 0.02) * 0.9, np.float32([0.92, 0.98, 1.0])))
    return layers


def _owl(frame: Frame) -> list[Layer]:
    """A feathered body with wings and tufts; telling part: the face, two great eyes and a beak."""
    u, v, random = frame.u, frame.v, frame.random
    plumage = _colour(random.random(), random.uniform(0.25, 0.5), random.uniform(0.5, 0.8))
    wide = random.uniform(0.56, 0.66)
    body = _ellipse(u, v, 0, 0.12, wide, 0.84)
    skull = _ellipse(u, v, 0, -0.55, wide * 0.92, 0.42)
    tufts = _polygon(np.abs(u), v, [(0.18, -0.8), (0.5, -1.1), (0.52, -0.62)]) - 0.02
    wings = _ellipse(np.abs(u), v, wide * 0.92, 0.2, 0.2, 0.55)
    all_body = np.minimum.reduce([body, skull, tufts])
    feathers = _scallops(u, v, 0.17)[..., None]
    barbs = _stripes(v - 0.5 * np.abs(u), 0.13, frame)[..., None]
    eyes = _disc(np.abs(u), v, 0.22, -0.56, 0.0)
    beak = _polygon(u, v, [(-0.075, -0.47), (0.075, -0.47), (0, -0.28)]) - 0.01
    return [
        (frame.cover(wings), _shaded(plumage * (0.72 - 0.2 * barbs), v, wings)),
        (frame.cover(all_body), _shaded(plumage * (1.08 - 0.4 * feathers), v, all_body)),
        (frame.cover(eyes - 0.235), CREAM),
        (
            frame.cover(np.maximum(_stripe_field(np.arctan2(v + 0.56, np.abs(u) - 0.22), math.pi / 8), eyes - 0.235)),
            plumage * 0.55,
        ),
        (frame.cover(eyes - 0.16), np.float32([0.99, 0.66, 0.05])),
        (frame.cover(eyes - 0.09), INK),
        (frame.cover(_disc(np.abs(u), v, 0.25, -0.6, 0.03)), CREAM),
        (frame.cover(beak), np.float32([0.95, 0.5, 0.1])),
    ]


def _branch(frame: Frame) -> list[Layer]:
    """A barky branch across the picture with needles."""
    u, v = frame.u, frame.v
    middle = 1.02 + 0.06 * np.sin(u * 2.2)
    limb = np.abs(v - middle) - 0.14
    bark = _stripes(v * 1.0 + 0.05 * np.sin(u * 13), 0.075, frame)[..., None]
    lean = u * 1.0 + 0.6 * np.abs(v - middle)
    needles = np.maximum(_stripe_field(lean, 0.15, 0.3), np.abs(v - middle) - 0.36 - 0.06 * np.sin(u * 5))
    return [
        (frame.cover(needles), np.float32([0.22, 0.42, 0.26])),
        (frame.cover(limb), _mix(np.float32([0.46, 0.33, 0.24]), np.float32([0.22, 0.15, 0.12]), bark)),
    ]


def _balloon(frame: Frame) -> list[Layer]:
    """An envelope of gores and a basket; telling part: the chequered shield with a sun."""
    u, v, random = frame.u, frame.v, frame.random
    silk = _colour(random.random(), random.uniform(0.5, 0.8), random.uniform(0.7, 0.95))
    wide = random.uniform(0.7, 0.8)
    globe = _ellipse(u, v, 0, -0.28, wide, 0.72)
    skirt = _polygon(u, v, [(-wide * 0.78, 0.05), (wide * 0.78, 0.05), (0.16, 0.62), (-0.16, 0.62)])
    envelope = np.minimum(globe, skirt)
    basket = _box(u, v, 0, 0.86, 0.17, 0.13, 0.03)
    ropes = np.maximum(np.abs(np.abs(u) - 0.13) - 0.03, np.abs(v - 0.68) - 0.1)
    across = np.clip(u / (wide * np.sqrt(np.clip(1 - ((v + 0.28) / 0.95) ** 2, 0.05, 1))), -1, 1)
    gores = (np.sin(np.arcsin(across) * 9) > 0).astype(np.float32)[..., None] * 0.3
    weave = _stripes(v, 0.07, frame)[..., None]
    shield = np.maximum(_box(u, v, 0, -0.3, 0.27, 0.24, 0.08), envelope)
    checks = frame.cover(np.sin(u * 2 * math.pi / 0.2) * np.sin(v * 2 * math.pi / 0.2) * 0.05)[..., None]
    sun = np.hypot(u, v + 0.3)
    return [
        (frame.cover(ropes), INK * 2),
        (frame.cover(envelope), _shaded(_mix(silk, silk * 0.55 + 0.05, gores * 3 * 0.6), u / wide, envelope)),
        (frame.cover(basket), _mix(np.float32([0.66, 0.46, 0.27]), INK, weave * 0.4)),
        (frame.cover(shield), _mix(CREAM, np.float32([0.15, 0.15, 0.2]), checks)),
        (frame.cover(sun - 0.135), np.float32([0.95, 0.2, 0.45])),
        (frame.cover(sun - 0.07), np.float32([0.99, 0.9, 0.2])),
    ]


def _clouds(frame: Frame) -> list[Layer]:
    """Curly clouds on both sides."""
    u, v, random = frame.u, frame.v, frame.random
    layers = []
    for side, height in ((-1, random.uniform(0.1, 0.8)), (1, random.uniform(-0.1, 0.7)), (-0.4, 1.05), (0.6, 1.15)):
        for _ in range(5):
            puff = np.hypot(u - 1.05 * side - random.uniform(-0.35, 0.35), v - height - random.uniform(-0.1, 0.1))
            size = random.uniform(0.18, 0.3)
            rings = _stripes(puff, 0.1, frame)[..., None]
            white = _mix(np.float32([0.97, 0.98, 1.0]), np.float32([0.62, 0.72, 0.88]), rings)
            layers.append((frame.cover(puff - size), white))
    return layers


DRAWINGS = (
    Drawing("balloon", "clouds", _balloon, _clouds, 12),
    Drawing("beetle", "leaf", _beetle, _leaf, 40),
    Drawing("boat", "water", _boat, _water, 8),
    Drawing("fish", "seaweed", _fish, _seaweed, 14),
    Drawing("owl", "branch", _owl, _branch, 10),
    Drawing("train", "rails", _train, _rails, 8),
)


# --- distance fields: negative inside --------------------------------------------------------------------------------


def _disc(u: np.ndarray, v: np.ndarray, centre_u: float, centre_v: float, radius: float) -> np.ndarray:
    return np.hypot(u - centre_u, v - centre_v) - radius


def _ellipse(
    u: np.ndarray, v: np.ndarray, centre_u: float, centre_v: float, half_u: float, half_v: float
) -> np.ndarray:
    """Exact at the edge, which is all that is needed: value over gradient length."""
    a, b = (u - centre_u) / half_u, (v - centre_v) / half_v
    value = np.hypot(a, b)
    return (value - 1) * value / np.maximum(np.hypot(a / half_u, b / half_v), 1e-3)


def _box(u: np.ndarray, v: np.ndarray, centre_u: float, centre_v: float, half_u: float, half_v: float,
         corner: float) -> np.ndarray:  # fmt: skip
    a, b = np.abs(u - centre_u) - half_u + corner, np.abs(v - centre_v) - half_v + corner
    return np.hypot(np.maximum(a, 0), np.maximum(b, 0)) + np.minimum(np.maximum(a, b), 0) - corner


def _capsule(
    u: np.ndarray, v: np.ndarray, start: tuple[float, float], end: tuple[float, float], radius: float
) -> np.ndarray:
    du, dv = end[0] - start[0], end[1] - start[1]
    along = np.clip(((u - start[0]) * du + (v - start[1]) * dv) / (du * du + dv * dv), 0, 1)
    return np.hypot(u - start[0] - along * du, v - start[1] - along * dv) - radius


def _polygon(u: np.ndarray, v: np.ndarray, corners: list[tuple[float, float]]) -> np.ndarray:
    distance = np.full(u.shape, np.inf, np.float32)
    inside = np.zeros(u.shape, bool)
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        distance = np.minimum(distance, _capsule(u, v, start, end, 0.0))
        if start[1] != end[1]:
            crossing = (v < start[1]) != (v < end[1])
            inside ^= crossing & (u < start[0] + (v - start[1]) * (end[0] - start[0]) / (end[1] - start[1]))
    return np.where(inside, -distance, distance)


def _stripe_field(t: np.ndarray, period: float, share: float = 0.5) -> np.ndarray:
    """Distance field of stripes along t that cover that share of each period."""
    phase = t / period
    return (np.abs(phase - np.floor(phase) - 0.5) - 0.5 * share) * period


def _stripes(t: np.ndarray, period: float, frame: Frame) -> np.ndarray:
    return frame.cover(_stripe_field(t, period))


def _scallops(along: np.ndarray, across: np.ndarray, size: float) -> np.ndarray:
    """Overlapping rows of round scales, 0 in a scale's middle and 1 at its rim."""
    row = np.floor(across / (0.6 * size))
    offset = (along / size + 0.5 * (row % 2)) % 1 - 0.5
    depth = across / (0.6 * size) - row
    return np.clip(np.hypot(2 * offset, depth) ** 3, 0, 1)


# --- colours ---------------------------------------------------------------------------------------------------------


def _colour(hue: float, saturation: float, value: float) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32)


def _mix(first: np.ndarray, second: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    return first * (1 - share) + second * share


def _shaded(colour: np.ndarray, down: np.ndarray, distance: np.ndarray, gloss: float = 0.12) -> np.ndarray:
    """Light from above, darker towards the rim, with a thin outline."""
    light = 1 + gloss * np.clip(-down, -1, 1) - 0.45 * np.exp(np.minimum(distance, 0) / 0.045)
    return np.clip(colour * light[..., None], 0, 1)


def _blob(frame: Frame) -> list[Layer]:
    """A rounded distractor of any colour, plain, striped or dotted."""
    u, v, random = frame.u, frame.v, frame.random
    colour = _colour(random.random(), random.uniform(0.1, 0.5), random.uniform(0.35, 0.95))
    size = random.uniform(0.08, 0.3)
    shapes = (
        lambda: _disc(u, v, 0, 0, size),
        lambda: _box(u, v, 0, 0, size, size * random.uniform(0.3, 1), 0.05),
        lambda: _polygon(u, v, [(-size, -size * 0.6), (size, -size * 0.5), (0, size)]) - 0.03,
        lambda: _capsule(u, v, (-size, 0), (size, 0), size * 0.4),
    )
    distance = shapes[random.integers(len(shapes))]()
    period = random.uniform(0.06, 0.14)
    pattern = (np.zeros_like(u), _stripes(u, period, frame), _stripes(u, period, frame) * _stripes(v, period, frame))
    texture = pattern[random.integers(len(pattern))][..., None]
    return [(frame.cover(distance) * random.uniform(0.6, 1), _shaded(colour * (1 - 0.2 * texture), v / size, distance))]
