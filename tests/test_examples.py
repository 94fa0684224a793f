"""The scripts under examples/ run to their end, from anywhere, and leave what they say."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.artifacts import read_mask

ROOT = Path(__file__).parents[1]


def test_there_is_a_test_for_each_example():
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {"tour.py"}


@pytest.fixture(scope="module")
def tour(tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("elsewhere")
    ended = subprocess.run(
        [sys.executable, ROOT / "examples/tour.py", "tour"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder / "tour", ended.stdout


def test_the_tour_shows_every_step_of_every_image(tour):
    folder, said = tour
    assert [line[:2] for line in said.splitlines() if line[:1].isdigit()] == ["1.", "2.", "3.", "4.", "5."]
    assert "seeds of 3 images: mIoU" in said
    sheet = np.asarray(Image.open(folder / "maps.jpg"))
    assert sheet.shape[1] > 7 * 180
    assert sheet.std() > 20  # images, and no blank sheet
    cam = sheet[:, 210:390].astype(int)  # the second column
    assert (
        cam[..., 0] - cam[..., 2]
    ).max() > 100  # warm somewhere: a classifier that has learned nothing has maps of 0


def test_the_tour_leaves_a_mask_and_a_page(tour):
    folder, _ = tour
    image = sorted((folder / "data/JPEGImages").glob("val_*"))[0]
    assert read_mask(folder / "mask.png").shape == np.asarray(Image.open(image)).shape[:2]
    assert (folder / "result.html").read_text(encoding="utf-8").count("data:image/webp;base64,") == 2
    assert (folder / "best_model.pth").is_file()
