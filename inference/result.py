"""What `infer.predict` returns: the mask of one image, drawn in a notebook or a window, or saved."""

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from data.artifacts import voc_palette, write_mask
from data.images import DAMAGED_IMAGE, array_to_rgb, image_to_rgb, read_image
from data.pixels import AUTO, NeedsSetting, PixelRule
from inference.output_folder import OPACITY, Found, classes_on, to_values
from inference.predictor import Prediction, Predictor
from utils.errors import UserError
from utils.ignore import IGNORE
from utils.visualize import bright_palette, fit, legend, overlay

SCREEN_SIDE = 720  # pixels of an image
QUALITY = 90  # of the JPEG in a notebook
MOST_BANDS = 16  # of an array whose first side counts them


@dataclass(frozen=True)
class Result:
    """An image with its mask.

    A network with up to 254 classes has mask value k + 1 for its class k, one with more counts those of the image.
    """

    image: np.ndarray  # (H, W, 3) uint8 RGB
    mask: np.ndarray  # (H, W) uint8; 0 background, 255 too close to call, else the value of one of `classes`
    classes: tuple[Found, ...]  # found or given, the largest first
    palette: np.ndarray  # (256, 3) uint8, the colour of each value
    class_names: tuple[str, ...] = ()  # of the values from 1 on, for the file

    def overlay(self, opacity: float = OPACITY) -> Image.Image:
        """The mask drawn over the image."""
        return Image.fromarray(overlay(self.image, self.mask, self.palette, opacity))

    def drawn(self) -> Image.Image:
        """Image and overlay side by side above a legend, small enough for a screen."""
        parts = [fit(self.image, SCREEN_SIDE), fit(np.asarray(self.overlay()), SCREEN_SIDE)]
        both = Image.fromarray(np.concatenate(parts, axis=1))
        swatches = [(f"{found.name} {found.share:.0%}", self.palette[found.value]) for found in self.classes]
        below = legend(swatches or [("none of the classes", (0, 0, 0))], max(both.width, 240))
        sheet = Image.new("RGB", (max(both.width, below.width), both.height + below.height), "white")
        sheet.paste(both, (0, 0))
        sheet.paste(below, (0, both.height))
        return sheet

    def show(self) -> None:
        """Draw it below the cell in a notebook, else in the system's image viewer."""
        shell = sys.modules.get("IPython")
        if shell is not None and shell.get_ipython() is not None:
            sys.modules["IPython.display"].display(self)
        else:
            self.drawn().show()

    def save(self, path: str | Path) -> None:
        """Write the mask as palette PNG."""
        write_mask(path, self.mask, self.palette, self.class_names)

    def _repr_jpeg_(self) -> bytes:
        """What a notebook draws."""
        buffer = io.BytesIO()
        self.drawn().save(buffer, format="JPEG", quality=QUALITY)
        return buffer.getvalue()


def to_result(image: np.ndarray, prediction: Prediction, predictor: Predictor) -> Result:
    """A prediction with the values that infer.py's files have, and its image and colours."""
    names = predictor.class_names if len(predictor.class_names) < IGNORE else ()
    values = [index + 1 if names else position for position, index in enumerate(prediction.classes, start=1)]
    found = tuple(classes_on(prediction, values, predictor.class_names))
    palette = voc_palette() if names else bright_palette()
    names = names or tuple(predictor.class_names[index] for index in prediction.classes)
    return Result(image, to_values(prediction.mask, values), found, palette, names)


def to_pixels(image: str | Path | Image.Image | np.ndarray | torch.Tensor, rule: PixelRule = AUTO) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a path, an image of Pillow or an array: the same pixels for each of them."""
    if isinstance(image, Image.Image):
        file = getattr(image, "filename", "")
        # What is decoded already, was never a file, or is not its first frame.
        if not getattr(image, "tile", None) or not file or image.tell():
            try:
                return np.array(image_to_rgb(image, rule, "predict: the image"))
            except DAMAGED_IMAGE as error:
                what = f"predict: the image cannot be read ({error})"
                raise UserError(f"{what}; give its path, or an open one") from error
        image = file
    if isinstance(image, str | Path):
        return np.array(read_image(Path(image), rule=rule))
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu()
    array = np.asarray(image if hasattr(image, "__array__") else None)
    if array.dtype.kind not in "buif":
        raise UserError(
            f"predict: the image is a {type(image).__name__}; expected a path, an image of Pillow, or an array, one at "
            "a time; open bytes and files with PIL.Image.open"
        )
    if array.ndim == 3 and array.shape[0] <= MOST_BANDS < min(array.shape[1:]):
        raise UserError(
            f"predict: the array is {array.shape}, which looks like (bands, H, W), and expected is (H, W, bands); give "
            "image.transpose(1, 2, 0), of a tensor image.permute(1, 2, 0)"
        )
    try:
        return array_to_rgb(array, rule, "predict: the array")
    except NeedsSetting as error:
        raise UserError(f"{error}; here: write predict(image, settings=['data.range=[LOW, HIGH]'])") from error
