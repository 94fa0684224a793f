"""The names in a run folder (docs/run_folder.md); a stage knows by them what others have made."""

from utils.config import Config

# Networks.
CLASSIFIER, CONTEXT, IBB = "classifier.pth", "context.pth", "ibb.pth"
AFFINITY, SEGMENTER = "affinity.pth", "segmenter.pth"
# Folders with a file an image of the seed list.
SEEDS, PARTED, IBB_MASKS, FUSED = "seeds", "parted", "ibb_masks", "fused"
CONFIDENT, WALKED, PSEUDO = "confident", "walked", "pseudo"
AFFINITY_SHEET = "affinity.jpg"
# Folders of the validation list.
LADDER, FUSED_LADDER, WALKED_LADDER = "ladder", "ladder_fused", "ladder_walked"
PSEUDO_LADDER, PREDICTIONS = "ladder_pseudo", "predictions"
# The report: figures, what the page needs beside them, table, examples, and the page.
REPORT, REPORT_IMAGES = "report.json", "report_images.json"
REPORT_TABLE, REPORT_SHEET, REPORT_PAGE = "report.txt", "report.jpg", "report.html"


def last_classifier(cfg: Config) -> str:
    """The classifier that knows most: that with its classes' context, where this is to be learned."""
    return CONTEXT if cfg.context.enabled else CLASSIFIER


def parted_seeds(cfg: Config) -> str:
    """The folder of the method's seeds, without their classes' context where that is to be learned."""
    return PARTED if cfg.context.enabled else SEEDS


def trains_on_blurred(cfg: Config) -> bool:
    """Whether stage `ibb` trains a network, which stage `fuse` corrects the seeds with."""
    return cfg.ibb.enabled and cfg.ibb.epochs > 0


def last_seeds(cfg: Config) -> str:
    """The folder of the seeds before any walk: as the network of stage `ibb` has corrected them, where there is one."""
    return FUSED if trains_on_blurred(cfg) else parted_seeds(cfg)


def walked_seeds(cfg: Config) -> str:
    """The folder of the seeds that pseudo masks are made of: after the walk, where there is one."""
    return last_seeds(cfg) if cfg.affinity.kind == "none" else WALKED
