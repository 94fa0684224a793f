"""The table of stages, in order: what each reads, what it waits for, when it has nothing to do."""

from stages.cam import FILE as CLASSIFIER
from stages.cam import train_classifier
from stages.lists import list_fingerprint
from utils.run import Stage

TRAINING = ("seed", "precision", "model", "data.kind")

STAGES = (
    Stage(
        "cam", "train the classifier on image-level labels", train_classifier,
        reads=(*TRAINING, "cam.epochs", "cam.batch_size", "cam.crop_size", "cam.resize_long", "cam.color_jitter", "cam.lr", "cam.lr_head_factor",
               "cam.momentum", "cam.weight_decay", "cam.poly_power", "cam.frozen_stride"),
        inputs=lambda cfg: list_fingerprint(cfg, cfg.data.train_list),
        complete=lambda cfg, run: run.path(CLASSIFIER).is_file(),
        writes_checkpoint=CLASSIFIER,
    ),
)  # fmt: skip
