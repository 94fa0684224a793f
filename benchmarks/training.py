"""Training from files against training from memory: python -m benchmarks.training

Ours: the loop of stage `cam` with decoding, augmentation, loader processes, logging and resumable states. Bare: the same step
(forward, loss, backward, update) on a batch that lies in memory. Target: at least 0.9 times the pictures a second.
"""

from pathlib import Path

import torch

from benchmarks.common import compare, generated_index, scratch_folder
from data.dataset import TrainingPictures, TrainingSampler
from data.transforms import RandomCrop
from models.classifier import build_classifier
from stages.cam import classification_losses
from utils.config import load_config
from utils.engine import Schedule, choose_compute, train_network
from utils.run import Run

STEPS, PAIRS = 24, 2


def main() -> None:
    with scratch_folder() as name:
        folder = Path(name)
        cfg = load_config(Path(__file__).parent.parent / "config.yaml", "voc12_compact", [f"run={folder / 'run'}"])
        index = generated_index(folder, cfg.cam.batch_size * STEPS)
        compute = choose_compute(cfg)
        classifier = build_classifier("efficientnet_lite0", 20, "imagenet")
        classifier.backbone.freeze(cfg.cam.frozen_stride)
        compute.network(classifier)
        crop = RandomCrop(
            cfg.cam.crop_size, classifier.backbone.mean, classifier.backbone.std, resize_long=cfg.cam.resize_long
        )
        schedule = Schedule(
            1,
            cfg.cam.lr,
            cfg.cam.lr * cfg.cam.lr_head_factor,
            cfg.cam.momentum,
            cfg.cam.weight_decay,
            cfg.cam.poly_power,
        )
        dataset, sampler = TrainingPictures(index, crop), TrainingSampler(len(index), cfg.cam.batch_size, cfg.seed)
        items = [dataset[draw] for draw, _ in zip(sampler, range(cfg.cam.batch_size), strict=False)]
        batch = {
            "image": compute.image(torch.stack([item["image"] for item in items])),
            "labels": torch.stack([item["labels"] for item in items]),
        }
        optimizer = torch.optim.SGD([p for p in classifier.parameters() if p.requires_grad], lr=cfg.cam.lr)

        def ours() -> None:
            run = Run(cfg)
            run.path("cam.last.pth").unlink(missing_ok=True)
            train_network(
                run,
                "cam",
                classifier,
                classifier.classifier,
                classification_losses,
                dataset,
                sampler,
                schedule,
                compute,
                cfg.workers,
                0,
            )

        def bare() -> None:
            classifier.train()
            for _ in range(STEPS):
                optimizer.zero_grad(set_to_none=True)
                classification_losses(classifier, batch)["classification"].backward()
                optimizer.step()

        seconds, bare_seconds, ratio = compare(ours, bare, PAIRS)
        pictures = len(index)
        print(
            f"from files {pictures / seconds:.2f} pictures/s, from memory {pictures / bare_seconds:.2f}: ratio {1 / ratio:.2f}"
        )


if __name__ == "__main__":
    main()
