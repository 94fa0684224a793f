"""Joint augmentation of an image and its mask, and the way from pixels to a network's input: sizes and values.

The same random generator gives the same crop.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageFilter
from torch.nn import functional as F

from utils.ignore import IGNORE
from utils.settings import setting

GREY = (0.299, 0.587, 0.114)  # how bright red, green and blue are (ITU-R BT.601), as in Pillow
EDGE = 2  # pixels: the deviation by which the border between sharp and blurred is made soft


@dataclass(frozen=True)
class Sides:
    """The size at which networks see images: limits of the long side; `max_side` holds where both cannot.

    Small images are enlarged, because a cell of the networks' maps covers 8 or 16 pixels. Masks and seeds keep the
    image's own size.
    """

    min_side: int = setting(0, low=0, help="images whose long side is shorter are enlarged to this; 0: as they are")
    max_side: int = setting(0, low=0, help="images whose long side is longer are made this small; 0: as they are")

    def longest(self, longest: int) -> int:
        """The long side of an image that has this one."""
        longest = max(longest, self.min_side)
        return min(longest, self.max_side) if self.max_side else longest

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The height and width of an image that has these."""
        own = max(height, width)
        longest = self.longest(own)
        return max(1, round(height * longest / own)), max(1, round(width * longest / own))

    def times(self, factor: float) -> "Sides":
        """The same limits, this many times as large."""
        return Sides(round(factor * self.min_side), round(factor * self.max_side))

    def or_at_most(self, most: int) -> "Sides":
        """The same, with an upper limit where there is none."""
        return Sides(self.min_side, self.max_side or max(self.min_side, most))


AS_IS = Sides()


@dataclass(frozen=True)
class BackgroundBlur:
    """Blurs the background of some training crops, what their mask calls background."""

    share: float  # of the crops
    sigma: tuple[float, float]  # range of the standard deviation / the long side, drawn evenly in its logarithm

    def __call__(self, image: Image.Image, mask: Image.Image, random: np.random.Generator) -> Image.Image:
        """The crop, RGB, with what is 0 in its mask blurred, or as it is; objects and what is ignored stay sharp."""
        if random.random() >= self.share:
            return image
        low, high = np.log(self.sigma)
        deviation = float(np.exp(random.uniform(low, high))) * max(image.size)
        keep = mask.convert("L").point(lambda value: 255 if value else 0).filter(ImageFilter.GaussianBlur(EDGE))
        return Image.composite(image, image.filter(ImageFilter.GaussianBlur(deviation)), keep)


@dataclass(frozen=True)
class RandomCrop:
    """A training crop of random size, flip, colour and position; around the image it is the mean colour, and 255."""

    crop_size: int  # side S of the crop, in pixels
    mean: tuple[float, float, float]  # RGB normalisation, for values in 0..1
    std: tuple[float, float, float]
    resize_long: tuple[int, int] | None = None  # range that the long side is drawn from, or None and
    scale_range: tuple[float, float] = (1.0, 1.0)  # range of the factor of the size, drawn evenly in its logarithm
    color_jitter: float = 0.0  # brightness, contrast and saturation are each multiplied by a factor in 1 +- this
    sides: Sides = AS_IS  # limits that the long side is brought within before `scale_range`
    blur: BackgroundBlur | None = None  # of the background, where there is a mask

    def __call__(
        self, image: Image.Image, mask: Image.Image | None, random: np.random.Generator
    ) -> dict[str, torch.Tensor]:
        """Image (H, W, 3) RGB and mask (H, W) or None -> the crop, for `unpack`.

        The mask must have the image's size; one of mode LA has hints as its second channel.

        Returns:
            `pixels` (S, S, 3) uint8, black around the image; `covered` (4,) int64, what the image covers: left, top,
            and right, bottom, the first outside; with mask `mask`, and with hints `hints`, both (S, S) uint8.
        """
        width, height = self._draw_size(image, random)
        mirrored = random.random() < 0.5
        columns, target_columns = _overlap(width, self.crop_size, random)
        rows, target_rows = _overlap(height, self.crop_size, random)
        if mirrored:  # the crop is, and not the whole image: it lies at the same distance from the other side
            columns = slice(width - columns.stop, width - columns.start)

        pixels = _resize(image, height, width)[rows, columns]
        if mirrored:
            pixels = pixels.flip(1)
        if self.color_jitter:
            factors = random.uniform(1 - self.color_jitter, 1 + self.color_jitter, size=3)
            pixels = torch.from_numpy(jitter(pixels.numpy(), *factors))
        if mask is not None:
            values = np.asarray(mask.resize((width, height), Image.Resampling.NEAREST))[rows, columns]
            # Copied because torch takes neither reversed rows nor Pillow's own memory.
            values = (values[:, ::-1] if mirrored else values).copy()
            if self.blur is not None:
                blurred = self.blur(Image.fromarray(pixels.numpy()), Image.fromarray(values), random)
                pixels = torch.from_numpy(np.array(blurred))

        crop = torch.zeros(self.crop_size, self.crop_size, 3, dtype=torch.uint8)
        crop[target_rows, target_columns] = pixels
        covered = (target_columns.start, target_rows.start, target_columns.stop, target_rows.stop)
        item = {"pixels": crop, "covered": torch.tensor(covered)}
        if mask is not None:
            target = torch.full((self.crop_size, self.crop_size, *values.shape[2:]), IGNORE, dtype=torch.uint8)
            target[target_rows, target_columns] = torch.from_numpy(values)
            item |= {"mask": target} if target.ndim == 2 else {"mask": target[..., 0], "hints": target[..., 1]}
        return item

    def unpack(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Crops as networks and losses take them, on the device where they lie.

        They come as bytes, because copies of floats would cost a CPU as much as the whole augmentation.

        A batch of `pixels` (B, S, S, 3) uint8, `covered` (B, 4) int64 and maybe `mask` and `hints` (B, S, S) uint8
        becomes `image` (B, 3, S, S) float, normalised, 0 (the mean colour) around the image, its memory in the order of
        `pixels`, and `mask` and `hints` int64; the rest stays as it was.
        """
        rest = dict(batch)
        pixels, covered = rest.pop("pixels"), rest.pop("covered")
        side, device = pixels.shape[1], pixels.device
        mean, std = (_on_device(values, device) for values in (self.mean, self.std))
        left, top, right, bottom = covered[:, :, None].unbind(1)
        position = torch.arange(side, device=device)
        rows = (position >= top) & (position < bottom)
        columns = (position >= left) & (position < right)
        # `normalise`, in rows of 3 S numbers: a CPU takes five times as long to go through pixels of three.
        subtracted = (columns[:, :, None] * mean).flatten(1)
        image = pixels.flatten(2).to(torch.float32)
        image.addcmul_(rows[:, :, None].to(torch.float32), subtracted[:, None], value=-1).div_(std.repeat(side))
        for name in rest.keys() & {"mask", "hints"}:
            rest[name] = rest[name].long()
        return {"image": image.view(pixels.shape).permute(0, 3, 1, 2), **rest}

    def _draw_size(self, image: Image.Image, random: np.random.Generator) -> tuple[int, int]:
        if self.resize_long is not None:
            factor = float(random.integers(self.resize_long[0], self.resize_long[1] + 1) / max(image.size))
        else:
            low, high = np.log(self.scale_range)
            longest = max(image.size)
            factor = self.sides.longest(longest) / longest * float(np.exp(random.uniform(low, high)))
        return max(1, round(image.width * factor)), max(1, round(image.height * factor))


def normalise(image: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """(..., 3, H, W) uint8 RGB -> float with the network's mean and deviation; the one normalisation of the project."""
    mean_tensor, std_tensor = (_on_device(values, image.device).view(3, 1, 1) for values in (mean, std))
    return (image.to(torch.float32) - mean_tensor) / std_tensor


def jitter(pixels: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> the same with each property multiplied, in this order; 1 leaves it.

    The formulas of Pillow's `ImageEnhance`: a mixture with black, with the mean grey, and with the grey image, each
    rounded and cut to 0..255.
    """
    pixels = cv2.transform(pixels, brightness * np.eye(3))
    mean_grey = np.dot(cv2.mean(pixels)[:3], GREY)
    pixels = cv2.transform(pixels, np.column_stack([contrast * np.eye(3), np.full(3, (1 - contrast) * mean_grey)]))
    return cv2.transform(pixels, saturation * np.eye(3) + (1 - saturation) * np.array(GREY))


def _on_device(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Values of 0..1 as a tensor of those of 0..255; filled in there, because a copy would wait for the device."""
    return torch.stack([torch.full((), value, device=device) for value in values]) * 255


def _resize(image: Image.Image, height: int, width: int) -> torch.Tensor:
    """(H, W, 3) RGB -> (height, width, 3) uint8 by a bilinear filter, as Pillow's in a quarter of its time."""
    # A batch before its channels are moved, or torch does not see that they lie side by side, and takes them apart.
    pixels = torch.from_numpy(np.array(image))[None].permute(0, 3, 1, 2)
    return F.interpolate(pixels, (height, width), mode="bilinear", antialias=True).permute(0, 2, 3, 1)[0]


def _overlap(side: int, crop: int, random: np.random.Generator) -> tuple[slice, slice]:
    """Along one axis: what the crop takes of the image, and where that lands in the crop."""
    if side >= crop:
        start = int(random.integers(side - crop + 1))
        return slice(start, start + crop), slice(0, crop)
    start = int(random.integers(crop - side + 1))
    return slice(0, side), slice(start, start + side)
