"""A tour of IBBNet from Python, on generated images, in about a minute: python examples/tour.py [FOLDER]

It uses what a program of yours would use: settings, data, the maps after each step of the method, masks and their
figures, and `predict`. The networks are trained for some seconds only. `python train.py --config config.yaml` trains
them in full.

Files in FOLDER (default: out/tour): data/, run/, maps.jpg (image, map after each step, mask, truth), result.jpg and
mask.png.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as your program needs it

from data.artifacts import voc_palette
from data.dataset import Index, WholeImages
from data.index import open_index
from evaluation.stages import pipeline
from infer import predict
from models.pseudo import pseudo_mask, upsample
from stages.config import Config, load_config
from stages.dataset_steps import FullMethod
from stages.networks import load_classifier
from utils.compute import choose_compute
from utils.errors import run_script
from utils.files import atomic_path
from utils.metrics import ConfusionMatrix
from utils.pipeline import run_stages
from utils.run import Run
from utils.visualize import Tile, contact_sheet, heatmap, overlay

ROOT = Path(__file__).resolve().parents[1]
QUICK = (
    *("device=cpu", "workers=0", "data.shapes_train=32", "data.shapes_val=3", "data.shapes_size=128"),
    *("cam.epochs=6", "cam.batch_size=8", "cam.crop_size=128", "cam.resize_long=[112,160]", "cam.scales=[1.0]"),
    *("ibb.iterations=1", "ibb.epochs=0", "report.enabled=false"),
    *("segment.epochs=6", "segment.batch_size=8", "segment.crop_size=128", "segment.scales=[1.0]"),
)


def main() -> None:
    """The command."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out/tour")

    print("1. Settings: preset demo, made quick. Any setting of config.yaml can be given in this way.")
    own = (f"run={folder / 'run'}", f"checkpoint={folder / 'best_model.pth'}", f"data.root={folder / 'data'}")
    cfg = load_config(ROOT / "config.yaml", "demo", [*QUICK, *own])

    print("2. Data: a list of images with image-level labels. Masks are opened only on request.")
    index = open_index(cfg.data, cfg.data.val_list, masks=True)
    for record in index.records:
        print(f"   {record.name}: {', '.join(index.class_names[label] for label in record.labels)}")

    print("3. Training, from labels alone: classifier, seeds, pseudo masks, segmentation network.")
    run_stages(pipeline(), cfg, Run(cfg, sys.argv))

    print("4. The method on single images, step by step.")
    compute = choose_compute(cfg)
    classifier = compute.network(load_classifier(folder / "run" / "context.pth"))
    full = FullMethod(cfg, folder / "run", classifier, compute)
    rows, matrix = show_steps(cfg, full, index)
    columns = ("image", *full.titles.values(), "mask", "truth")
    with atomic_path(folder / "maps.jpg") as temporary:
        contact_sheet(rows, columns, "what each step of the method adds", tile=180).save(temporary, quality=90)
    print(
        f"   seeds of {matrix.n_images} images: mIoU {100 * matrix.miou():.1f}, over-activation "
        f"{100 * matrix.over_activation():.1f} %, under-activation {100 * matrix.under_activation():.1f} %"
    )

    print("5. A mask of any image. In a notebook the result shows itself; here it becomes an image.")
    result = predict(index.records[0].image, folder / "best_model.pth", device="cpu")
    result.save(folder / "mask.png")
    with atomic_path(folder / "result.jpg") as temporary:
        result.drawn().save(temporary, quality=90)
    print("   " + (", ".join(f"{found.name} {found.share:.0%}" for found in result.classes) or "background alone"))
    print(f"see {folder / 'maps.jpg'}, {folder / 'result.jpg'}, {folder / 'mask.png'}")


def show_steps(cfg: Config, full: FullMethod, index: Index) -> tuple[list[list[Tile]], ConfusionMatrix]:
    """A row of tiles for each image, and the figures of the seeds at the configured threshold."""
    palette = voc_palette()
    matrix = ConfusionMatrix(len(index.class_names) + 1)
    rows = []
    for record, item in zip(index.records, WholeImages(index), strict=True):
        classes = list(record.labels)
        trace = full.trace(item["image"], classes)  # maps (K, h, w) in 0..1, one for each class of the image
        last = list(trace.maps.values())[-1]
        size = tuple(item["image"].shape[-2:])
        mask = pseudo_mask(upsample(last.cpu(), size), torch.tensor(classes), threshold=cfg.pseudo.threshold)
        truth = record.read_truth()
        matrix.update(torch.from_numpy(truth.copy()), mask)
        pixels = item["image"].permute(1, 2, 0).numpy()
        maps = [found[0].cpu().numpy() for found in trace.maps.values()]
        drawn = [overlay(pixels, values, palette) for values in (mask.numpy(), truth)]
        rows.append([Tile(image) for image in (pixels, *(heatmap(pixels, one) for one in maps), *drawn)])
        rows[-1][0] = Tile(pixels, f"{record.name}: maps of {index.class_names[classes[0]]}")
    return rows, matrix


if __name__ == "__main__":
    sys.exit(run_script(main))
