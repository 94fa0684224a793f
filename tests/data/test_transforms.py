import dataclasses

import numpy as np
import torch
from PIL import Image
from torch.utils.data import default_collate

from data.transforms import GREY, BackgroundBlur, RandomCrop, Sides, jitter, normalise
from stages.reading import prepare
from tests.models.tiny import tiny_classifier
from utils.compute import Compute
from utils.ignore import IGNORE

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# With these, the image comes out as its values divided by 255.
PLAIN = RandomCrop(crop_size=48, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def coordinates(height: int, width: int) -> tuple[Image.Image, Image.Image]:
    """An image whose red is the column, green the row and blue 200; and a mask of the column."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return Image.fromarray(np.dstack([columns, rows, np.full_like(rows, 200)])), Image.fromarray(columns)


def seen(crop: RandomCrop, image: Image.Image, mask: Image.Image, seed: int) -> dict:
    """A crop as a training sees it: `image` (3, S, S) float and `mask` (S, S) int64."""
    batch = crop.unpack(default_collate([crop(image, mask, np.random.default_rng(seed))]))
    return {name: values[0] for name, values in batch.items()}


def draws(count: int):
    return [np.random.default_rng([7, number]) for number in range(count)]


def plain_crop(crop: RandomCrop, image: Image.Image, mask: Image.Image, random: np.random.Generator):
    """The slow way, all by Pillow: resize, mirror, then cut out; pixels (S, S, 3) with 0 around them, and the mask."""
    if crop.resize_long is not None:
        factor = random.integers(crop.resize_long[0], crop.resize_long[1] + 1) / max(image.size)
    else:
        long = max(max(image.size), crop.sides.min_side)
        long = min(long, crop.sides.max_side or long)
        factor = long / max(image.size) * np.exp(random.uniform(*np.log(crop.scale_range)))
    size = round(image.width * factor), round(image.height * factor)
    image, mask = image.resize(size, Image.Resampling.BILINEAR), mask.resize(size, Image.Resampling.NEAREST)
    if random.random() < 0.5:
        image, mask = (whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for whole in (image, mask))
    free = [side - crop.crop_size for side in size]
    left, top = (random.integers(room + 1) if room >= 0 else -random.integers(1 - room) for room in free)
    box = (left, top, left + crop.crop_size, top + crop.crop_size)
    inverted = mask.point(lambda value: IGNORE - value).crop(box)  # what lies outside becomes 0
    return np.asarray(image.crop(box)), IGNORE - np.asarray(inverted)


def test_a_crop_is_the_one_that_resizing_and_mirroring_whole_would_give():
    """Every pixel of the mask, and colours up to a rounding: the same draws, in the same order."""
    for options in (
        {"scale_range": (0.5, 2.0)},
        {"resize_long": (30, 200)},
        {"scale_range": (0.5, 2.0), "crop_size": 90, "sides": Sides(max_side=60)},
        {"scale_range": (1.0, 1.0), "crop_size": 78, "sides": Sides(max_side=200)},  # few places; not enlarged
        {"crop_size": 300, "sides": Sides(min_side=240)},  # enlarged
    ):
        crop = dataclasses.replace(PLAIN, **options)
        noise = np.random.default_rng(1).integers(0, 255, (80, 121, 4), dtype=np.uint8)
        image, mask = Image.fromarray(noise[..., :3]), Image.fromarray(noise[..., 3])
        for seed in range(12):
            item = seen(crop, image, mask, seed)
            pixels, target = plain_crop(crop, image, mask, np.random.default_rng(seed))
            assert np.array_equal(item["mask"], target)
            difference = np.abs((item["image"] * 255).round().permute(1, 2, 0).numpy() - pixels)
            assert difference.max() <= 1
            assert (difference > 0).mean() < 0.05


FACTORS = [(1.0, 1.0, 1.0), (1.3, 1.0, 1.0), (1.0, 0.7, 1.0), (1.0, 1.0, 1.3), (1.3, 1.3, 0.7), (0.7, 1.2, 1.3)]


def test_jitter_has_the_formulas_of_its_steps_moves_nothing_and_follows_from_its_seed():
    """Up to 1, the rounding, where the steps after the first may enlarge it; factors of 1 leave every pixel."""
    for factors in FACTORS:
        pixels = np.random.default_rng(2).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        brightness, contrast, saturation = factors
        expected = np.clip(np.rint(pixels * brightness), 0, 255)
        mean_grey = (expected @ GREY).mean()
        expected = np.clip(np.rint(mean_grey + contrast * (expected - mean_grey)), 0, 255)
        grey = (expected @ GREY)[..., None]
        expected = np.clip(np.rint(grey + saturation * (expected - grey)), 0, 255)
        difference = np.abs(jitter(pixels, *factors) - expected)
        assert difference.max() <= (0 if factors == (1.0, 1.0, 1.0) else 2)
        assert (difference > 0).mean() < 0.15
    jittered = dataclasses.replace(PLAIN, color_jitter=0.4)
    for seed in range(3):
        plain, other, again = (seen(crop, *coordinates(80, 120), seed) for crop in (PLAIN, jittered, jittered))
        assert torch.equal(plain["mask"], other["mask"])
        assert torch.equal(again["image"], other["image"])
        assert not torch.equal(plain["image"], other["image"])


def test_crops_travel_as_bytes_and_are_normalised_where_images_are_which_can_be_undone():
    image = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    normal = normalise(image, MEAN, STD)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    assert torch.equal(((normal * std + mean) * 255).round().to(torch.uint8), image)
    assert torch.equal(normalise(image[1], MEAN, STD), normal[1])
    for size in ((60, 80), (10, 12), (200, 12), (1, 1)):
        crop = RandomCrop(crop_size=48, mean=MEAN, std=STD, scale_range=(0.3, 1.2))
        items = [{**crop(*coordinates(*size), random), "name": str(n)} for n, random in enumerate(draws(8))]
        batch = default_collate(items)
        kinds = {name: values.dtype for name, values in batch.items() if name != "name"}
        assert kinds == {"pixels": torch.uint8, "covered": torch.int64, "mask": torch.uint8}
        unpacked = crop.unpack(batch)
        assert unpacked.keys() == {"image", "mask", "name"}
        assert unpacked["name"] == batch["name"]
        assert batch.keys() == {"pixels", "covered", "mask", "name"}  # is left as it was
        assert unpacked["image"].is_contiguous(memory_format=torch.channels_last)
        assert unpacked["mask"].dtype == torch.int64
        assert torch.equal(unpacked["mask"], batch["mask"].long())
        covered = batch["mask"] != IGNORE
        for inside, (left, top, right, bottom) in zip(covered, batch["covered"].tolist(), strict=True):
            assert inside[top:bottom, left:right].all()
            assert 0 < inside.sum() == (right - left) * (bottom - top)
        expected = normalise(batch["pixels"].permute(0, 3, 1, 2), MEAN, STD) * covered[:, None]
        assert torch.equal(unpacked["image"], expected)


def noisy(side: int) -> tuple[Image.Image, Image.Image, np.ndarray]:
    """An image of noise, its mask (class 3 left, ignored in the middle, background right), and its pixels."""
    pixels = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    mask = np.zeros((side, side), np.uint8)
    mask[:, : side // 3], mask[:, side // 3 : 2 * side // 3] = 3, IGNORE
    return Image.fromarray(pixels), Image.fromarray(mask), pixels


def test_the_background_is_blurred_and_nothing_else_also_in_a_crop():
    image, mask, pixels = noisy(96)
    blurred = np.asarray(BackgroundBlur(1.0, (0.05, 0.1))(image, mask, np.random.default_rng(0)))
    edge = 8  # four deviations of the soft border
    assert np.array_equal(blurred[:, : 64 - edge], pixels[:, : 64 - edge])
    assert blurred[:, 64 + edge :].std() < 0.2 * pixels[:, 64 + edge :].std()
    assert abs(blurred[:, 64 + edge :].mean() - pixels[:, 64:].mean()) < 5
    image, mask, pixels = noisy(60)
    blur = BackgroundBlur(0.3, (0.01, 0.1))
    spread = np.array([np.asarray(blur(image, mask, random))[:, 50:].std() for random in draws(200)])
    sharp = np.isclose(spread, pixels[:, 50:].std())
    assert 0.6 < sharp.mean() < 0.8
    assert len(np.unique(spread[~sharp].round(3))) > 30
    assert all(np.asarray(BackgroundBlur(0.0, (0.1, 0.1))(image, mask, r)).std() == pixels.std() for r in draws(20))
    image, mask, _ = noisy(96)
    crop = dataclasses.replace(PLAIN, scale_range=(0.8, 1.5))
    blurring = dataclasses.replace(crop, blur=BackgroundBlur(1.0, (0.1, 0.1)))
    for seed in range(5):
        plain, blurred = (seen(c, image, mask, seed) for c in (crop, blurring))
        assert torch.equal(plain["mask"], blurred["mask"])
        objects = plain["mask"] == 3
        assert torch.equal(plain["image"][:, objects], blurred["image"][:, objects])
    assert "mask" not in blurring(image, None, np.random.default_rng(0))  # nothing says what is background


def test_networks_see_an_image_whose_long_side_is_between_the_limits():
    enlarged = [(Sides(100), (30, 50), (60, 100)), (Sides(100), (50, 30), (100, 60))]
    reduced = [(Sides(0, 20), (30, 50), (12, 20)), (Sides(0, 20), (1, 400), (1, 20))]
    both = [(Sides(40, 60), (30, 50), (30, 50)), (Sides(100, 80), (30, 50), (48, 80))]  # the last cannot hold both
    for sides, own, expected in ((Sides(), (30, 50), (30, 50)), *enlarged, *reduced, *both):
        assert sides.size(*own) == expected
    assert Sides(0, 0).or_at_most(90) == Sides(0, 90)
    assert Sides(100, 0).or_at_most(90).size(50, 50) == (100, 100)
    assert Sides(0, 30).or_at_most(90) == Sides(0, 30)
    for sides, size in ((Sides(), (12, 20)), (Sides(40), (24, 40)), (Sides(40, 30), (18, 30))):
        pixels = torch.full((3, 12, 20), 200, dtype=torch.uint8)  # even, and stays so: it is enlarged and not padded
        image = prepare(pixels, tiny_classifier(), Compute(torch.device("cpu")), sides)
        assert image.shape == (3, *size)
        torch.testing.assert_close(image, image[:, :1, :1].expand_as(image))
