"""The names in a run folder (docs/run_folder.md); a stage knows by them what others have made."""

from utils.config import Config

# Networks.
CLASSIFIER, CONTEXT, AFFINITY, SEGMENTER = "classifier.pth", "context.pth", "affinity.pth", "segmenter.pth"
# Folders with a file a picture of the seed list.
SEEDS, PARTED, CONFIDENT, WALKED, PSEUDO = "seeds", "parted", "confident", "walked", "pseudo"
AFFINITY_SHEET = "affinity.jpg"
# Folders of the validation list.
LADDER, WALKED_LADDER, PSEUDO_LADDER, PREDICTIONS = "ladder", "ladder_walked", "ladder_pseudo", "predictions"
# The report: figures, what the page needs beside them, table, examples, and the page.
REPORT, REPORT_PICTURES = "report.json", "report_pictures.json"
REPORT_TABLE, REPORT_SHEET, REPORT_PAGE = "report.txt", "report.jpg", "report.html"


def last_classifier(cfg: Config) -> str:
    """The classifier that knows most: that with its classes' context, where this is to be learned."""
    return CONTEXT if cfg.context.enabled else CLASSIFIER


def last_seeds(cfg: Config) -> str:
    """The folder of the seeds before any walk, as later stages take them."""
    return PARTED if cfg.context.enabled else SEEDS
