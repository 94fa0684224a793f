"""The README's picture from a finished run: python docs/figure.py runs/demo

Takes the first whole rows of the run's `report.jpg`, small enough for a repository.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH, GAP = 1420, 1000, 6  # pixels: at most so high, made so wide; blank lines between two rows


def main() -> None:
    sheet = Image.open(Path(sys.argv[1]) / "report.jpg").convert("L")
    blank = (np.asarray(sheet)[:HEIGHT] > 230).all(axis=1)
    ends = [y for y in range(GAP, len(blank)) if blank[y - GAP : y].all()]
    figure = Image.open(Path(sys.argv[1]) / "report.jpg").crop((0, 0, sheet.width, ends[-1]))
    figure.thumbnail((WIDTH, HEIGHT))
    figure.save(Path(__file__).parent / "result.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    main()
