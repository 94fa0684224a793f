"""The names of the files in a run folder (docs/run_folder.md)."""

from stages.settings import Config

# Networks.
CLASSIFIER, CONTEXT, IBB = "classifier.pth", "context.pth", "ibb.pth"
AFFINITY, SEGMENTER = "affinity.pth", "segmenter.pth"
# Folders with a file for each image of the seed list; steps over the data set have theirs (`DatasetStep.folder`).
SEEDS, IBB_MASKS, CONFIDENT, PSEUDO = "seeds", "ibb_masks", "confident", "pseudo"
AFFINITY_SHEET = "affinity.jpg"
THRESHOLD, THRESHOLD_SHEET = "threshold.json", "threshold.jpg"  # found without truth, and masks around it
# Folders of the validation list.
ABLATION, CHANGED_ABLATION, PSEUDO_ABLATION = "ablation", "ablation_steps", "ablation_pseudo"
PREDICTIONS = "predictions"
# The report: figures, what the page needs beside them, table, examples, and the page.
REPORT, REPORT_IMAGES = "report.json", "report_images.json"
HINTS_PAGE = "hints.html"  # where a person gives hints
REPORT_TABLE, REPORT_SHEET, REPORT_PAGE = "report.txt", "report.jpg", "report.html"


def last_classifier(cfg: Config) -> str:
    """The classifier that knows most: that with its classes' context, where this is to be learned."""
    return CONTEXT if cfg.part("context").enabled else CLASSIFIER


def trains_on_blurred(cfg: Config) -> bool:
    """Whether stage `ibb` trains a network, which stage `correct` corrects the seeds with."""
    return cfg.step("ibb").enabled and cfg.part("blur_training").epochs > 0
