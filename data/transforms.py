"""Joint augmentation of a picture and its mask, and the way from pixels to a network's input.

Every transform is a small frozen object called with `(image, mask, random)`; the same random generator gives the same
crop.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter

from data.artifacts import IGNORE

EDGE = 2  # pixels: the deviation by which the border between sharp and blurred is made soft


@dataclass(frozen=True)
class BackgroundBlur:
    """Blurs the background of some training crops, what their mask calls background.

    Attributes:
        share: of the crops.
        sigma: the blur's standard deviation as a share of the crop's long side is drawn from this range, evenly in its logarithm.
    """

    share: float
    sigma: tuple[float, float]

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
    """Random size, flip, colour and place: a training crop.

    Attributes:
        crop_size: side S of the crop, in pixels; what the picture does not cover is 0 (the mean colour) and mask 255.
        mean, std: RGB normalisation, for values in 0..1.
        resize_long: the long side is drawn from this range of pixels; None leaves the size to `scale_range`.
        scale_range: or the size is multiplied by a factor drawn from this range, evenly in its logarithm.
        color_jitter: brightness, contrast and saturation are each multiplied by a factor in 1 +- this.
        max_side: before `scale_range`, a picture whose long side is above this is brought down to it; 0 leaves it.
        blur: of the background, where there is a mask.
    """

    crop_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize_long: tuple[int, int] | None = None
    scale_range: tuple[float, float] = (1.0, 1.0)
    color_jitter: float = 0.0
    max_side: int = 0
    blur: BackgroundBlur | None = None

    def __call__(
        self, image: Image.Image, mask: Image.Image | None, random: np.random.Generator
    ) -> dict[str, torch.Tensor]:
        """Image (H, W, 3) RGB and mask (H, W) or None -> `image` (3, S, S) float and, with mask, `mask` (S, S) int64.

        The mask must have the picture's size.
        """
        if self.resize_long is not None:
            factor = float(random.integers(self.resize_long[0], self.resize_long[1] + 1) / max(image.size))
        else:
            low, high = np.log(self.scale_range)
            limit = min(1.0, self.max_side / max(image.size)) if self.max_side else 1.0
            factor = limit * float(np.exp(random.uniform(low, high)))
        size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
        image = image.resize(size, Image.Resampling.BILINEAR)
        if mask is not None:
            mask = mask.resize(size, Image.Resampling.NEAREST)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mask is not None else None

        source_x, target_x, width = _overlap(size[0], self.crop_size, random)
        source_y, target_y, height = _overlap(size[1], self.crop_size, random)
        box = (source_x, source_y, source_x + width, source_y + height)
        image = image.crop(box)
        if self.color_jitter:
            for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                image = enhance(image).enhance(random.uniform(1 - self.color_jitter, 1 + self.color_jitter))
        if mask is not None:
            mask = mask.crop(box)
            if self.blur is not None:
                image = self.blur(image, mask, random)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        crop = torch.zeros(3, self.crop_size, self.crop_size)
        crop[:, target_y : target_y + height, target_x : target_x + width] = normalise(pixels, self.mean, self.std)
        item = {"image": crop}
        if mask is not None:
            target = torch.full((self.crop_size, self.crop_size), IGNORE, dtype=torch.int64)
            values = torch.from_numpy(np.array(mask).astype(np.int64))
            target[target_y : target_y + height, target_x : target_x + width] = values
            item["mask"] = target
        return item


def normalise(image: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """(..., 3, H, W) uint8 RGB -> float with the network's mean and deviation; the one normalisation of the project."""
    mean_tensor = image.new_tensor(mean, dtype=torch.float32).view(3, 1, 1) * 255
    std_tensor = image.new_tensor(std, dtype=torch.float32).view(3, 1, 1) * 255
    return (image.to(torch.float32) - mean_tensor) / std_tensor


def _overlap(side: int, crop: int, random: np.random.Generator) -> tuple[int, int, int]:
    """Along one axis: where the crop starts in the picture, where that lands in the crop, and how many pixels."""
    if side >= crop:
        return int(random.integers(side - crop + 1)), 0, crop
    return 0, int(random.integers(crop - side + 1)), side
