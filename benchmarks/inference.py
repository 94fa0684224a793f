"""infer.py on many images against the bare network: python -m benchmarks.inference [--timed 100] [--input FOLDER]

Ours: everything that infer.py does. Bare: the same passes on tensors of the same sizes in memory, without and with the
refinement. By turns in one process, a tenth at a time. Target: at least 0.85 of the bare rate. Ours reads and writes in
threads of its own; the ratio of processor time shows what that costs where no core is idle. The page holds a few
hundred images at most: it is timed by itself, and each image is charged what it costs in a call on 1,000.

With --against CHECKOUT the programs of that checkout and of this one are compared by turns (benchmarks/against.py),
with --busy 1 beside a core that other work keeps busy.

Without --input the images are generated; those of a folder are repeated until there are enough.
"""

import itertools
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.against import compare_checkouts, programs
from benchmarks.common import CONFIG, generated_index, parser_of, scratch_folder
from data.images import find_images, read_image
from inference.bulk import Options, predict_images
from inference.gallery import MOST_ITEMS
from inference.loading import load_predictor
from inference.output_folder import PAGE
from inference.segmenter import SegmenterPredictor
from models.segmenter import build_segmenter
from stages.config import load_config
from stages.networks import save_network
from utils.errors import UserError, run_script
from utils.memory import keep_freed_memory

GENERATED = 40
SHARES = 10
MANY = 1000  # images of a call whose page is shared


def main() -> None:
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--timed", type=int, default=100, metavar="N", help="images (default: 100)")
    add("--input", type=Path, metavar="FOLDER", help="images to repeat (default: generated ones)")
    add("--model_path", type=Path, metavar="FILE", help="a segmentation network (default: random weights)")
    add("--batch", type=int, default=1, metavar="N", help="as infer.py's")
    add("--against", type=Path, metavar="CHECKOUT", help="another checkout, whose infer.py is compared with this one's")
    qualities = "of this checkout, for --against (default: normal,fast,best)"
    add("--qualities", default="normal,fast,best", metavar="A,B", help=qualities)
    add("--turns", type=int, default=3, metavar="N", help="for --against (default: 3)")
    add("--busy", type=int, default=0, metavar="N", help="for --against: cores kept busy (default: 0)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="as infer.py's")
    args = parser.parse_args()
    keep_freed_memory()  # as infer.py does
    with scratch_folder() as name:
        folder = Path(name)
        path = args.model_path or random_network(folder / "random.pth")
        count = args.timed if args.against else GENERATED
        sources = find_images(args.input) if args.input else [r.image for r in generated_index(folder, count).records]
        if not sources:
            raise UserError(f"--input {args.input}: no images in this folder; give another")
        if args.against:
            found = programs(args.against, args.set, args.qualities.split(","))
            compare_checkouts(found, path, sources[: args.timed], args.turns, args.busy)
            return
        predictor = load_predictor(path, args.set)
        if not isinstance(predictor, SegmenterPredictor):
            raise UserError(f"--model_path {path}: expected a segmentation network, such as segmenter.pth of a run")
        links = folder / "images"
        links.mkdir()
        for index, source in zip(range(args.timed), itertools.cycle(sources), strict=False):
            os.symlink(source.resolve(), links / f"{index:05}{source.suffix}")
        paths = sorted(links.iterdir())
        compare_rates(predictor, paths, folder / "timed", args.batch, MOST_ITEMS / MANY)


def compare_rates(predictor: SegmenterPredictor, images: list[Path], output: Path, batch: int, in_page: float) -> None:
    """Ours and the bare network by turns; `in_page` is the share of the images that the page holds."""
    per_share = -(-len(images) // SHARES)
    rows = []
    for share, first in enumerate(range(0, len(images), per_share)):
        part = images[first : first + per_share]
        arrays = [predictor._small(np.array(read_image(path))) for path in part]
        bare = timed(passes, predictor, arrays, batch, False)
        refined = timed(passes, predictor, arrays, batch, True)
        folder = output / str(share)
        whole = timed(predict_images, part, folder, predictor, Options(batch=batch))
        (folder / PAGE).unlink()
        page = timed(predict_images, part, folder, predictor, Options(batch=batch))  # all else is done
        ours = [both - alone * (1 - in_page) for both, alone in zip(whole, page, strict=True)]
        rows.append(
            (len(part) / ours[0], *(other[clock] / ours[clock] for clock in (0, 1) for other in (bare, refined)))
        )
    rate, *ratios = (statistics.median(column) for column in zip(*rows, strict=True))
    settings, refine = predictor.reading, predictor.cfg.pseudo.refine
    print(
        f"{rate:.2f} images a second ({len(images)} images, scales {settings.scales}, flip {settings.flip}, "
        f"batch {batch}, "
        f"{predictor.runtime.name}, {torch.get_num_threads()} threads); medians of {len(rows)} shares"
    )
    for clock, (bare, refined) in (("time", ratios[:2]), ("processor time", ratios[2:])):
        print(
            f"  ratio to the bare network by {clock}: {refined:.2f} with its refinement ({refine}), {bare:.2f} without"
        )


def passes(predictor: SegmenterPredictor, arrays: Sequence[np.ndarray], batch: int, refined: bool) -> None:
    """The bare network on images in memory."""
    for start in range(0, len(arrays), batch):
        chosen = list(arrays[start : start + batch])
        with predictor.compute.autocast():
            if refined:
                predictor._predict_many(chosen, [None] * len(chosen))
            else:
                predictor._cells(chosen)


def random_network(path: Path) -> Path:
    """A compact segmentation network of 20 classes, with the scales of preset voc12_compact."""
    cfg = load_config(CONFIG, "voc12_compact")
    network = build_segmenter(cfg.model.backbone, 21, "none", cfg.segmenter.stage, cfg.segmenter.decoder_strides)
    save_network(path, "segmenter", network, tuple(f"class {index}" for index in range(20)), cfg, {})
    return path


def timed(work: Callable, *args: object, **options: object) -> tuple[float, float]:
    """Seconds of the clock and of the processor."""
    started, computed = time.perf_counter(), time.process_time()
    work(*args, **options)
    return time.perf_counter() - started, time.process_time() - computed


if __name__ == "__main__":
    raise SystemExit(run_script(main))
