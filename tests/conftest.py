"""Fixtures that all tests share: a tiny generated dataset in VOC layout, and the way to real photographs."""

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import models.runtime
import utils.compute
import utils.files
import utils.run
from data.artifacts import write_mask
from models.backbone import BACKBONES
from models.classifier import build_classifier
from models.segmenter import build_segmenter
from stages.config import load_config
from stages.networks import save_network
from tests.browser import open_browser
from tests.inference.stub import NAMES, QUICK, save_three
from tests.models.tiny import TinyBackbone
from tests.project import Ended, Project, call, code_of, new_project, product_files
from utils.ignore import IGNORE

# Sums in another order are other numbers, and tests compare bit by bit; besides, tests run in several processes.
torch.set_num_threads(1)

TESTS = Path(__file__).parent

VOC_XML = "<annotation><filename>{name}.jpg</filename>{objects}</annotation>"
VOC_OBJECT = "<object><name>{name}</name><difficult>{difficult}</difficult></object>"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the whole project first: they take longest, and what is short fills up the end of two processes."""
    items.sort(key=lambda item: item.path.parent != TESTS)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How large the project is; tests/test_size.py holds the bounds."""
    for kind, files in (("product", product_files()), ("tests", code_of("tests"))):
        lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in files]
        terminalreporter.write_line(f"{kind}: {sum(lines):,} lines in {len(files)} files, the largest {max(lines)}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with `voc12/` and `coco_mini/`; the test is skipped where there is none."""
    folder = Path(os.environ.get("IBBNET_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("needs ../shared/data or IBBNET_DATA: real photographs in voc12/ and coco_mini/")
    return folder


@pytest.fixture(scope="session", autouse=True)
def no_waiting() -> Iterator[None]:
    """A test needs no files that outlive a power cut, and on a busy disk each wait takes a second.

    PyTorch waits five seconds for a loader process that has raised an error. What a run says of its machine, for which
    it asks git, is the same in all tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils.run, "_describe", functools.cache(utils.run._describe))
        patch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.2)
        patch.setattr(utils.files, "_to_disk", lambda path: None)
        patch.setattr(utils.run.os, "sync", lambda: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def same_arithmetic_everywhere() -> Iterator[None]:
    """PyTorch computes in float32, whatever the machine has; tests/models/test_runtime.py has the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models.runtime, "NAMES", {})
        patch.setattr(utils.compute, "fastest_precision", lambda device: "off")
        yield


@pytest.fixture(scope="session")
def tiny_backbone() -> Iterator[str]:
    """The name of a backbone of a few hundred weights, that of tests/models/tiny.py: four times as fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "tiny", lambda imagenet: TinyBackbone())
        yield "tiny"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: str) -> Project:
    """A project whose run is finished, made once; tests that change something take `project`, a copy."""
    project = new_project(tmp_path_factory.mktemp("project"), tiny_backbone)
    project.first = project.train().well()
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project."""
    return finished.copy(tmp_path)


@pytest.fixture
def make_voc(tmp_path: Path) -> Callable[..., Path]:
    """A function that makes a dataset in VOC layout in `tmp_path` and returns its root."""
    return voc_maker(tmp_path)


def voc_maker(parent: Path) -> Callable[..., Path]:
    """As the fixture `make_voc`, in a folder that several tests share."""

    def make(
        count: int = 6,
        size: tuple[int, int] = (30, 40),
        classes: tuple[str, ...] = ("cat", "dog", "train"),
        labels: str = "csv",
        folder: str = "voc",
    ) -> Path:
        """Images `p0`, `p1`, ...; those whose number leaves 2 when divided by 3 are list `val`, the others `train`.

        Image i shows class i % C, and an odd one also class (i + 1) % C, as rectangles with a rim of 255 in the mask.

        Args:
            size: (H, W), at least 20 by 20; every second image is lying on its side.
            labels: how the image-level labels are kept: `csv`, `xml`, `npy` or `none`.
        """
        root = parent / folder
        for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (root / part).mkdir(parents=True)
        random = np.random.default_rng(0)
        present: dict[str, list[int]] = {}
        for number in range(count):
            name = f"p{number}"
            height, width = size if number % 2 == 0 else size[::-1]
            pixels = random.integers(90, 120, (height, width, 3))
            mask = np.zeros((height, width), np.uint8)
            present[name] = [number % len(classes)] + [(number + 1) % len(classes)] * (number % 2)
            for place, label in enumerate(present[name]):
                top, left = 2 + place * height // 2, 2 + place * width // 2
                bottom, right = top + height // 2 - 4, left + width // 2 - 4
                mask[top:bottom, left:right] = IGNORE
                mask[top + 1 : bottom - 1, left + 1 : right - 1] = label + 1
                pixels[top:bottom, left:right, label % 3] = 250
            Image.fromarray(pixels.astype(np.uint8)).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
            write_mask(root / "SegmentationClass" / f"{name}.png", mask)
        for list_name in ("train", "val"):
            names = (f"p{number}\n" for number in range(count) if (number % 3 == 2) == (list_name == "val"))
            (root / f"ImageSets/Segmentation/{list_name}.txt").write_text("".join(names))
        write_labels(root, present, classes, labels)
        return root

    return make


def write_labels(root: Path, present: dict[str, list[int]], classes: tuple[str, ...], kind: str) -> None:
    """Image-level labels of a VOC-layout dataset as `csv`, `xml` or `npy`; `none` writes nothing."""
    vectors = {name: np.isin(np.arange(len(classes)), found).astype(np.float32) for name, found in present.items()}
    if kind == "csv":
        rows = [["image", *classes], *([name, *vector.astype(int)] for name, vector in vectors.items())]
        (root / "image_labels.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    elif kind == "npy":
        np.save(root / "cls_labels.npy", vectors, allow_pickle=True)
    elif kind == "xml":
        (root / "Annotations").mkdir()
        for name, found in present.items():
            objects = "".join(VOC_OBJECT.format(name=classes[label], difficult=0) for label in found)
            (root / "Annotations" / f"{name}.xml").write_text(VOC_XML.format(name=name, objects=objects))


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory, tiny_backbone) -> dict[str, Path]:
    """A classifier and a segmenter with random weights, three classes each."""
    folder = tmp_path_factory.mktemp("checkpoints")
    cfg = load_config(None, overrides=[*QUICK, f"model.backbone={tiny_backbone}"])
    torch.manual_seed(0)
    networks = {
        "classifier": build_classifier(tiny_backbone, len(NAMES), "none"),
        "segmenter": build_segmenter(tiny_backbone, len(NAMES) + 1, "none", cfg.segmenter.stage),
    }
    torch.nn.init.normal_(networks["segmenter"].head[-1].weight)  # else one class wins everywhere
    for kind, network in networks.items():
        save_network(folder / f"{kind}.pth", kind, network, NAMES, cfg, {})
    return {kind: folder / f"{kind}.pth" for kind in networks}


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """A headless Chromium, or the tests are skipped."""
    yield from open_browser()


@pytest.fixture
def images(tmp_path) -> Path:
    """a.jpg (60 x 40), b/c.png (32 x 48, grey), rotated.jpg (seen as 40 x 60)."""
    return save_three(tmp_path / "images")


@pytest.fixture
def infer_on(checkpoints, tmp_path) -> Callable[..., Ended]:
    """A function that runs infer.py with a kind of network on a source, into `out`."""
    words = ("--output", tmp_path / "out", "--model_path")
    return lambda kind, source, *more: call("infer", "--input", source, *words, checkpoints[kind], *more)
