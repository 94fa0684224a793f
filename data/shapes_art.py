"""The drawings of the demo dataset: six objects, and the context that each is usually seen with.

An object is a body (texture and outline are typical of the class, the colour varies) and a small most discriminative
part that no other class has. A context never belongs to the mask. Everything is drawn in a frame's own coordinates (u
right, v down, the object about 2 wide).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data.shapes_fields import Frame, Layer, box, capsule, disc, hsv, mix, noise, polygon, rgb, shaded, stripe_field

INK = np.array([0.10, 0.09, 0.13], np.float32)
CREAM = np.array([0.98, 0.95, 0.86], np.float32)


@dataclass(frozen=True)
class Drawing:
    """A class of the demo: its name, how it and what it is seen with are drawn, and how far it may lean (degrees)."""

    name: str
    draw: Callable[[Frame], list[Layer]]
    draw_context: Callable[[Frame], list[Layer]]
    lean: float


def _train(frame: Frame) -> list[Layer]:
    """A carriage with windows; most discriminative part: the front with chevrons and headlights."""
    u, v, random = frame.u, frame.v, frame.random
    length, tall = random.uniform(0.95, 1.1), random.uniform(0.36, 0.44)
    paint_colour = hsv(random.random(), random.uniform(0.45, 0.75), random.uniform(0.55, 0.85))
    body = box(u, v, 0, 0, length, tall, 0.16)
    wheels = np.minimum.reduce([disc(u, v, place * length, tall, 0.11) for place in (-0.75, -0.45, 0.4, 0.7)])
    panels = frame.stripes(u, 0.085)[..., None]
    window_pitch = length * 0.27
    along = (u + length) % window_pitch - window_pitch / 2
    panes = box(along, v, 0, -0.1, window_pitch * 0.33, 0.11, 0.03)
    windows = np.maximum(panes, np.abs(u + 0.2 * length) - 0.66 * length)
    front = np.maximum(body + 0.02, length * 0.58 - u)
    chevrons = frame.stripes(np.abs(v) * 1.1 + u, 0.15)[..., None]
    lamps = np.minimum(disc(u, v, length * 0.8, 0.2, 0.075), disc(u, v, length * 0.8, -0.2, 0.075))
    return [
        (frame.cover(wheels), INK * 1.6),
        (frame.cover(body), shaded(paint_colour * (1 - 0.16 * panels), v / tall, body)),
        (frame.cover(windows), mix(paint_colour, rgb(0.75, 0.88, 0.95), 0.65)),
        (frame.cover(front), mix(rgb(0.98, 0.80, 0.10), INK, chevrons)),
        (frame.cover(lamps - 0.035), INK),
        (frame.cover(lamps), CREAM),
    ]


def _rails(frame: Frame) -> list[Layer]:
    u, v = frame.u, frame.v
    bed = np.abs(v - 0.80) - 0.30
    gravel = 0.5 + 0.16 * noise(u.shape[0], u.shape[1], 2.2, frame.random)[..., None] * np.ones(3, np.float32)
    sleepers = np.maximum(stripe_field(u + 0.25 * v, 0.22), np.abs(v - 0.79) - 0.22)
    steel = np.minimum(np.abs(v - 0.66), np.abs(v - 0.92)) - 0.032
    return [
        (frame.cover(bed) * 0.9, gravel),
        (frame.cover(sleepers), rgb(0.36, 0.25, 0.18)),
        (frame.cover(steel), rgb(0.80, 0.82, 0.86)),
    ]


def _boat(frame: Frame) -> list[Layer]:
    """A hull and a panelled sail; most discriminative part: the compass star on the sail."""
    u, v, random = frame.u, frame.v, frame.random
    cloth = hsv(random.random(), random.uniform(0.3, 0.6), random.uniform(0.75, 0.95))
    wood = mix(cloth * 0.6, rgb(0.50, 0.32, 0.20), 0.4)
    sail = polygon(u, v, [(-0.05 + random.uniform(-0.08, 0.08), -1.0), (0.78, 0.38), (-0.72, 0.38)]) - 0.03
    hull = polygon(u, v, [(-0.95, 0.45), (0.98, 0.45), (0.62, 0.82), (-0.62, 0.82)]) - 0.03
    mast = box(u, v, -0.02, 0.4, 0.035, 0.12, 0.0)
    seams = frame.stripes(v + 0.25 * u, 0.17)[..., None]
    planks = frame.stripes(v, 0.12)[..., None]
    radius, turn = np.hypot(u, v - 0.06), np.arctan2(v - 0.06, u)
    badge = radius - 0.29
    star = radius - 0.14 - 0.12 * np.cos(8 * turn)
    return [
        (frame.cover(mast), INK * 2),
        (frame.cover(sail), shaded(cloth * (1 - 0.14 * seams), u, sail)),
        (frame.cover(hull), shaded(wood * (1 - 0.2 * planks), (v - 0.6) * 3, hull)),
        (frame.cover(badge), INK),
        (frame.cover(badge + 0.04), CREAM),
        (frame.cover(star), rgb(0.85, 0.12, 0.18)),
        (frame.cover(radius - 0.06), INK),
    ]


def _water(frame: Frame) -> list[Layer]:
    u, v = frame.u, frame.v
    inside = np.maximum(0.62 + 0.03 * np.sin(u * 9) - v, v - 1.5)
    ripples = frame.stripes(v + 0.035 * np.sin(u * 14 + 5 * v), 0.125)[..., None]
    water = mix(rgb(0.16, 0.42, 0.62), rgb(0.72, 0.90, 0.95), ripples * 0.75)
    return [(frame.cover(inside) * 0.95, water)]


def _beetle(frame: Frame) -> list[Layer]:
    """Ridged wing cases and legs; most discriminative part: the neck shield with two ringed eye spots."""
    u, v, random = frame.u, frame.v, frame.random
    shell = hsv(random.random(), random.uniform(0.55, 0.85), random.uniform(0.45, 0.75))
    length = random.uniform(0.78, 0.9)
    case = _ellipse(u, v, 0.0, 0.12, random.uniform(0.56, 0.66), length)
    neck = _ellipse(u, v, 0.0, -0.62, 0.46, 0.27)
    head = _ellipse(u, v, 0.0, -0.88, 0.22, 0.16)
    ends = ((-0.35, -0.55), (0.1, 0.12), (0.5, 0.8))
    legs = np.minimum.reduce([capsule(np.abs(u), v, (0.35, start), (0.9, end), 0.06) for start, end in ends])
    ridges = frame.stripes(u / (0.35 + 0.65 * np.sqrt(np.clip(1 - ((v - 0.12) / length) ** 2, 0, 1))), 0.15)[..., None]
    spots = disc(np.abs(u), v, 0.22, -0.62, 0.0)
    return [
        (frame.cover(legs), INK * 1.5),
        (frame.cover(head), INK * 1.5),
        (frame.cover(case), shaded(shell * (1 - 0.3 * ridges), v, case, gloss=0.35)),
        (frame.cover(np.maximum(np.abs(u) - 0.018, case)), shell * 0.35),
        (frame.cover(neck), mix(shell * 0.45, INK, 0.4)),
        (frame.cover(spots - 0.19), rgb(0.99, 0.55, 0.10)),
        (frame.cover(spots - 0.145), INK),
        (frame.cover(spots - 0.10), CREAM),
        (frame.cover(spots - 0.05), INK),
    ]


def _leaf(frame: Frame) -> list[Layer]:
    u, v = frame.u, frame.v
    a, b = 0.94 * (u - 0.55) + 0.34 * (v - 0.2), 0.94 * (v - 0.2) - 0.34 * (u - 0.55)
    half_width = 0.74 * np.cos(np.clip(a / 1.45, -1, 1) * math.pi / 2)
    blade = np.maximum(np.abs(b) - half_width, np.abs(a) - 1.45)
    veins = np.minimum(stripe_field(a - 0.7 * np.abs(b), 0.2, 0.25), np.abs(b) - 0.03)
    green = hsv(frame.random.uniform(0.24, 0.36), 0.6, frame.random.uniform(0.45, 0.65))
    veined = mix(green, mix(green, CREAM, 0.65), frame.cover(veins)[..., None])
    return [(frame.cover(blade), shaded(veined, b, blade))]


def _fish(frame: Frame) -> list[Layer]:
    """A scaly body with fins; most discriminative part: the banded head with its eye."""
    u, v, random = frame.u, frame.v, frame.random
    skin = hsv(random.random(), random.uniform(0.4, 0.7), random.uniform(0.65, 0.9))
    depth = random.uniform(0.44, 0.56)
    body = _ellipse(u, v, 0.1, 0, 0.85, depth)
    tail = polygon(u, v, [(-0.62, 0), (-1.1, -0.42), (-0.98, 0.0), (-1.1, 0.42)]) - 0.03
    back = polygon(u, v, [(-0.35, -depth * 0.8), (-0.2, -depth - 0.22), (0.4, -depth * 0.8)]) - 0.03
    belly = polygon(u, v, [(-0.1, depth * 0.8), (-0.15, depth + 0.2), (0.3, depth * 0.85)]) - 0.03
    rays = frame.stripes(u + 0.6 * v, 0.09)[..., None]
    scales = _scallops(v, u, 0.2)[..., None]
    head = np.maximum(body + 0.015, 0.48 + 0.2 * (v / depth) ** 2 - u)
    bands = frame.stripes(u + 0.2 * (v / depth) ** 2, 0.155)[..., None]
    eye = disc(u, v, 0.7, -0.09, 0.0)
    return [
        (frame.cover(np.minimum.reduce([tail, back, belly])), skin * (0.72 - 0.2 * rays)),
        (frame.cover(body), shaded(skin * (1.05 - 0.42 * scales), v / depth, body)),
        (frame.cover(head), mix(CREAM, rgb(0.10, 0.12, 0.42), bands)),
        (frame.cover(eye - 0.12), rgb(0.98, 0.82, 0.1)),
        (frame.cover(eye - 0.065), INK),
    ]


def _seaweed(frame: Frame) -> list[Layer]:
    u, v, random = frame.u, frame.v, frame.random
    colour = hsv(random.uniform(0.40, 0.50), 0.65, random.uniform(0.4, 0.6))
    layers = []
    for number in range(10):
        place, top, lean = -1.25 + 0.27 * number, random.uniform(0.1, 0.55), random.uniform(-0.25, 0.25)
        if abs(place) < 0.9:
            top += 0.3
        depth = np.clip((v - top) / (1.5 - top), 0, 1)
        stem = u - place + lean * (1 - depth) - 0.05 * np.sin(v * 11 + random.uniform(0, 6))
        blade = np.maximum(np.abs(stem) - 0.1 * np.sqrt(depth), np.maximum(top - v, v - 1.5))
        leaflets = stripe_field(v - 0.9 * np.abs(stem), 0.1, 0.4)
        green = mix(colour, CREAM, frame.cover(leaflets)[..., None] * 0.45) * random.uniform(0.75, 1.1)
        layers.append((frame.cover(blade), green))
    for _ in range(7):
        across, down = random.uniform(-1.2, 1.4), random.uniform(-0.2, 0.5) + 0.5
        bubble = np.abs(disc(u, v, across, down, random.uniform(0.04, 0.09)))
        layers.append((frame.cover(bubble - 0.02) * 0.9, rgb(0.92, 0.98, 1.0)))
    return layers


def _owl(frame: Frame) -> list[Layer]:
    """A feathered body with wings and tufts; most discriminative part: the face, two great eyes and a beak."""
    u, v, random = frame.u, frame.v, frame.random
    plumage = hsv(random.random(), random.uniform(0.25, 0.5), random.uniform(0.5, 0.8))
    wide = random.uniform(0.56, 0.66)
    body = _ellipse(u, v, 0, 0.12, wide, 0.84)
    skull = _ellipse(u, v, 0, -0.55, wide * 0.92, 0.42)
    tufts = polygon(np.abs(u), v, [(0.18, -0.8), (0.5, -1.1), (0.52, -0.62)]) - 0.02
    wings = _ellipse(np.abs(u), v, wide * 0.92, 0.2, 0.2, 0.55)
    all_body = np.minimum.reduce([body, skull, tufts])
    feathers = _scallops(u, v, 0.17)[..., None]
    barbs = frame.stripes(v - 0.5 * np.abs(u), 0.13)[..., None]
    eyes = disc(np.abs(u), v, 0.22, -0.56, 0.0)
    beak = polygon(u, v, [(-0.075, -0.47), (0.075, -0.47), (0, -0.28)]) - 0.01
    rays = stripe_field(np.arctan2(v + 0.56, np.abs(u) - 0.22), math.pi / 8)
    return [
        (frame.cover(wings), shaded(plumage * (0.72 - 0.2 * barbs), v, wings)),
        (frame.cover(all_body), shaded(plumage * (1.08 - 0.4 * feathers), v, all_body)),
        (frame.cover(eyes - 0.235), CREAM),
        (frame.cover(np.maximum(rays, eyes - 0.235)), plumage * 0.55),
        (frame.cover(eyes - 0.16), rgb(0.99, 0.66, 0.05)),
        (frame.cover(eyes - 0.09), INK),
        (frame.cover(disc(np.abs(u), v, 0.25, -0.6, 0.03)), CREAM),
        (frame.cover(beak), rgb(0.95, 0.5, 0.1)),
    ]


def _branch(frame: Frame) -> list[Layer]:
    u, v = frame.u, frame.v
    middle = 1.02 + 0.06 * np.sin(u * 2.2)
    limb = np.abs(v - middle) - 0.14
    bark = frame.stripes(v + 0.05 * np.sin(u * 13), 0.075)[..., None]
    along = stripe_field(u + 0.6 * np.abs(v - middle), 0.15, 0.3)
    needles = np.maximum(along, np.abs(v - middle) - 0.36 - 0.06 * np.sin(u * 5))
    return [
        (frame.cover(needles), rgb(0.22, 0.42, 0.26)),
        (frame.cover(limb), mix(rgb(0.46, 0.33, 0.24), rgb(0.22, 0.15, 0.12), bark)),
    ]


def _balloon(frame: Frame) -> list[Layer]:
    """An envelope of gores and a basket; most discriminative part: the chequered shield with a sun."""
    u, v, random = frame.u, frame.v, frame.random
    silk = hsv(random.random(), random.uniform(0.5, 0.8), random.uniform(0.7, 0.95))
    wide = random.uniform(0.7, 0.8)
    globe = _ellipse(u, v, 0, -0.28, wide, 0.72)
    skirt = polygon(u, v, [(-wide * 0.78, 0.05), (wide * 0.78, 0.05), (0.16, 0.62), (-0.16, 0.62)])
    envelope = np.minimum(globe, skirt)
    basket = box(u, v, 0, 0.86, 0.17, 0.13, 0.03)
    ropes = np.maximum(np.abs(np.abs(u) - 0.13) - 0.03, np.abs(v - 0.68) - 0.1)
    across = np.clip(u / (wide * np.sqrt(np.clip(1 - ((v + 0.28) / 0.95) ** 2, 0.05, 1))), -1, 1)
    gores = (np.sin(np.arcsin(across) * 9) > 0).astype(np.float32)[..., None] * 0.3
    weave = frame.stripes(v, 0.07)[..., None]
    shield = np.maximum(box(u, v, 0, -0.3, 0.27, 0.24, 0.08), envelope)
    checks = frame.cover(np.sin(u * 2 * math.pi / 0.2) * np.sin(v * 2 * math.pi / 0.2) * 0.05)[..., None]
    sun = np.hypot(u, v + 0.3)
    return [
        (frame.cover(ropes), INK * 2),
        (frame.cover(envelope), shaded(mix(silk, silk * 0.55 + 0.05, gores * 3 * 0.6), u / wide, envelope)),
        (frame.cover(basket), mix(rgb(0.66, 0.46, 0.27), INK, weave * 0.4)),
        (frame.cover(shield), mix(CREAM, rgb(0.15, 0.15, 0.2), checks)),
        (frame.cover(sun - 0.135), rgb(0.95, 0.2, 0.45)),
        (frame.cover(sun - 0.07), rgb(0.99, 0.9, 0.2)),
    ]


def _clouds(frame: Frame) -> list[Layer]:
    u, v, random = frame.u, frame.v, frame.random
    layers = []
    for side, height in ((-1, random.uniform(0.1, 0.8)), (1, random.uniform(-0.1, 0.7)), (-0.4, 1.05), (0.6, 1.15)):
        for _ in range(5):
            puff = np.hypot(u - 1.05 * side - random.uniform(-0.35, 0.35), v - height - random.uniform(-0.1, 0.1))
            size = random.uniform(0.18, 0.3)
            rings = frame.stripes(puff, 0.1)[..., None]
            white = mix(rgb(0.97, 0.98, 1.0), rgb(0.62, 0.72, 0.88), rings)
            layers.append((frame.cover(puff - size), white))
    return layers


def _ellipse(
    u: np.ndarray, v: np.ndarray, centre_u: float, centre_v: float, half_u: float, half_v: float
) -> np.ndarray:
    """Exact at the edge, which is all that is needed: value over gradient length."""
    a, b = (u - centre_u) / half_u, (v - centre_v) / half_v
    value = np.hypot(a, b)
    return (value - 1) * value / np.maximum(np.hypot(a / half_u, b / half_v), 1e-3)


def _scallops(along: np.ndarray, across: np.ndarray, size: float) -> np.ndarray:
    """Overlapping rows of round scales, 0 in a scale's middle and 1 at its rim."""
    row = np.floor(across / (0.6 * size))
    offset = (along / size + 0.5 * (row % 2)) % 1 - 0.5
    depth = across / (0.6 * size) - row
    return np.clip(np.hypot(2 * offset, depth) ** 3, 0, 1)


DRAWINGS = (
    Drawing("balloon", _balloon, _clouds, 12),
    Drawing("beetle", _beetle, _leaf, 40),
    Drawing("boat", _boat, _water, 8),
    Drawing("fish", _fish, _seaweed, 14),
    Drawing("owl", _owl, _branch, 10),
    Drawing("train", _train, _rails, 8),
)
