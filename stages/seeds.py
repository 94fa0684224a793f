"""Stage `seeds`: the method's maps for every image of the seed list, as files."""

from typing import Any

import torch

from data.artifacts import write_seed
from stages.files import CLASSIFIER, SEEDS, seed_index, without_file
from stages.learned import map_warnings, tell
from stages.networks import load_classifier
from stages.reading import build_method, prepare, to_seed, whole_images
from stages.settings import Config
from utils.compute import reading_compute
from utils.distributed import from_main
from utils.run import Run


def make_seeds(cfg: Config, run: Run) -> dict[str, Any]:
    """Write `seeds/ID.npz` for the seed list; files that are there already are kept."""
    index = seed_index(cfg)
    compute, method = reading_compute(cfg), build_method(cfg)
    classifier = compute.network(load_classifier(run.path(CLASSIFIER), index.class_names))
    folder = run.fresh_folder(SEEDS)
    missing = without_file(index, folder, ".npz")

    def read(item: dict[str, Any]) -> None:
        classes = item["labels"].nonzero().flatten().tolist()
        maps = torch.zeros(0, 1, 1)
        if classes:  # an image of the background has no map, and need not be read
            image = prepare(item["image"], classifier, compute, cfg.seeds)
            with compute.autocast():
                maps = method(classifier, image, classes)
        seed = to_seed(maps, classes, item["image"].shape[-2:])
        write_seed(folder / f"{item['name']}.npz", seed, index.class_names)

    compute.do_each(read, whole_images(index, missing, cfg.workers, "seeds"))
    warnings = from_main(lambda: map_warnings(index, folder))
    return {"images": len(index), "written": len(missing), **tell(run, "seeds", warnings)}
