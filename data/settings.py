"""The settings of the section `data`: which images, with which labels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from utils.config_file import build_parts, parse_overrides, read_values
from utils.settings import Part, Problem, RunSettings, known_keys, setting


@dataclass(frozen=True)
class DataSettings:
    """Which images, with which labels (data/index.py)."""

    kind: str = setting("voc", help="voc, coco, folder (own images), shapes (generated)")
    recipe: Literal["named", "auto"] = setting(
        "named", help="auto: preset inspection in place of the named one, where the data fit it"
    )
    enlarge: float | Literal["auto"] = setting(
        "auto", low=0.1, high=16, help="sizes at which networks see images, times this; auto: 2 for large textures"
    )
    root: str = setting("data/VOCdevkit/VOC2012", help="the dataset's folder")
    train_list: str = setting("train_aug", help="a list's name, or a file of names")
    val_list: str = setting("val", help="for the report; needs truth masks; empty: no report")
    seed_list: str = setting("", help="images that get seeds and pseudo masks; empty: the training list")
    labels: str = setting(
        "", help="label file (.csv, .npy, .json); names: file names begin with the class; empty: its own"
    )
    classes: tuple[str, ...] = setting(
        (), help="class names in the order of the mask values, or a file of them; empty: the dataset's"
    )
    hints: str = setting(
        "", help="folder or file of points, lines, boxes, areas that a person has given (docs/hints.md)"
    )
    background: str = setting("background", help="folder, coco: a label of this name means none of the classes")
    crowd: Literal["auto", "ignore", "object"] = setting(
        "auto", help="COCO's iscrowd: ignore, object; auto: ignore, but refuse a class of crowds alone"
    )
    colors: tuple[str, ...] = setting((), help='one a class, such as "#ff8000"; empty: VOC\'s')
    mask_values: dict[str, str] = setting(
        dict, help="of truth masks, by value or colour: {0: background, 255: crack}; empty: class values"
    )
    range: tuple[float, float] | Literal["auto", "percentile"] = setting(
        "auto", help="values shown as black and white, such as [0, 4095]; percentile: of each image"
    )
    bands: tuple[int, ...] = setting((), low=1, high=65535, help="of images with more than three, such as [3, 2, 1]")
    download: bool = setting(False, help="fetch what is missing (VOC 2012 only: 2 GB, and 1.4 GB for train_aug)")
    max_pixels: int = setting(
        180_000_000,
        low=1,
        high=2**40,
        help="larger images are refused: a small file can unpack to more than the memory",
    )
    shapes_train: int = setting(160, low=1, help="shapes only: how many training images are generated")
    shapes_val: int = setting(48, low=1, help="shapes only: how many validation images")
    shapes_size: int = setting(192, low=64, help="shapes only: their size in pixels")

    def check(self) -> Problem | None:
        """Colours must be such as "#ff8000", a range must have two ends, and bands must be three or one."""
        if not isinstance(self.range, str) and self.range[0] == self.range[1]:
            return ("data.range",), f"'data.range' must have two different ends, found {list(self.range)}"
        if len(self.bands) not in (0, 1, 3):
            bands = "three bands (red, green, blue) or one (grey)"
            return ("data.bands",), f"'data.bands' must be {bands}, found {list(self.bands)}"
        for color in self.colors:
            if not re.fullmatch("#?[0-9a-fA-F]{6}", color):
                return ("data.colors",), f"'data.colors' must be RGB as quoted \"#ff8000\", found '{color}'"
        return None


@dataclass(frozen=True)
class DataConfig(RunSettings):
    """The settings of a run and its data, for commands that train nothing."""

    data: DataSettings = field(default_factory=DataSettings)


def load_data_config(path: str | Path | None, preset: str | None, overrides: Sequence[str]) -> DataConfig:
    """The settings of the data in a configuration file; its other sections are not read. `UserError` where wrong."""
    parts = [Part("", "", RunSettings), Part("data", "data", DataSettings)]
    values = read_values(path, preset, ("data",)) | parse_overrides(overrides)
    known = {"data", *known_keys(parts)}
    built = build_parts(parts, {key: value for key, value in values.items() if key.partition(".")[0] in known})
    return DataConfig(**vars(built[""]), data=built["data"])
