"""The neutral scenes that the demo's objects stand in, and the way layers are painted."""

import math

import numpy as np

from data.shapes_fields import Frame, box, capsule, disc, hsv, make_frame, polygon, shaded, smooth_noise, stripes

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
    first, second = (
        hsv((hue + shift) % 1, random.uniform(0.12, 0.42), random.uniform(0.55, 0.9))
        for shift in (0, random.uniform(-0.2, 0.2))
    )
    angle = random.uniform(0, math.pi)
    ramp = np.clip(0.5 + math.cos(angle) * (x - 0.5) + math.sin(angle) * (y - 0.5), 0, 1)[..., None]
    canvas = first * (1 - ramp) + second * ramp
    unit = max(height, width) / 2
    if random.random() < 0.5:  # hills
        for _ in range(random.integers(1, 4)):
            ridge = random.uniform(0.35, 0.9) + 0.12 * smooth_noise(1, width, unit, random)
            hill = hsv(random.random(), random.uniform(0.1, 0.35), random.uniform(0.4, 0.8))
            paint(canvas, [(np.clip((y - ridge) * max(height, width), 0, 1) * 0.85, hill)])
    for _ in range(random.integers(2, 6)):
        centre, angle = (random.uniform(0, width), random.uniform(0, height)), random.uniform(0, 360)
        frame = make_frame(height, width, (centre, unit, angle, False), 0.2, random)
        paint(canvas, _blob(frame))
    grain = smooth_noise(height, width, random.uniform(2, 16), random) * random.uniform(0.02, 0.09)
    grain += smooth_noise(height, width, unit, random) * random.uniform(0.0, 0.12)
    if random.random() < 0.3:  # woven cloth
        waves = 2 * math.pi * max(height, width) / random.uniform(4, 9)
        grain += 0.035 * np.sin(x * waves) * np.sin(y * waves)
    return np.clip(canvas + grain[..., None], 0, 1).astype(np.float32)


def _blob(frame: Frame) -> list[Layer]:
    """A rounded distractor of any colour, plain, striped or dotted."""
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
    pattern = (np.zeros_like(u), stripes(u, period, frame), stripes(u, period, frame) * stripes(v, period, frame))
    texture = pattern[random.integers(len(pattern))][..., None]
    return [(frame.cover(distance) * random.uniform(0.6, 1), shaded(colour * (1 - 0.2 * texture), v / size, distance))]
