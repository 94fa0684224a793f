"""The README's picture from a finished run: python docs/figure.py runs/voc12_compact

Cuts the first rows out of the run's `report.jpg`, small enough for a repository.
"""

import sys
from pathlib import Path

from PIL import Image

HEIGHT, WIDTH = 1150, 1000


def main() -> None:
    sheet = Image.open(Path(sys.argv[1]) / "report.jpg")
    sheet = sheet.crop((0, 0, sheet.width, min(sheet.height, HEIGHT)))
    sheet.thumbnail((WIDTH, WIDTH))
    sheet.save(Path(__file__).parent / "result.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    main()
