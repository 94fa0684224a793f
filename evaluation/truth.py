"""Every image of a list read once, shared by all processes; and the check of masks before any evaluation."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from data.dataset import Index, NoTruth, Record
from data.index import open_index
from data.inspection import other_classes
from data.mask_values import AS_IS, MaskFacts, read_with_facts
from data.truth_check import LEAST, judge, palette_reason
from stages.settings import Config
from utils.distributed import gather
from utils.errors import UserError
from utils.file_digests import digest_files
from utils.files import digest
from utils.ignore import IGNORE
from utils.reading import read_once
from utils.run import CONTENTS, run_of

logger = logging.getLogger(__name__)
_checked: set[str] = set()  # digests of the lists that this process has checked
FEW = 500  # images, up to which loader processes take longer to start than they save, and threads do


@dataclass
class Groups(Dataset):
    """By the position of a record: it, and what `read` makes of `size` records from there on."""

    records: Sequence[Record]
    read: Callable[..., Any]
    size: int

    def __getitem__(self, first: int) -> tuple[int, Any]:
        return first, self.read(*self.records[first : first + self.size])


def read_records(
    index: Index, read: Callable[..., Any], workers: int, title: str, size: int = 1
) -> Iterator[tuple[int, Any]]:
    """The position of each record and the result of `read`, in exactly one process; `size` records at a time."""
    groups, firsts = Groups(index.records, read, size), range(0, len(index), size)
    return read_once(groups, firsts, workers, title, threads=len(index) <= FEW)


def why_no_truth(cfg: Config) -> str | None:
    """Why the validation list cannot be evaluated, or None if it can; `UserError` where its classes are others."""
    if not cfg.data.val_list:
        return "data.val_list is empty"
    try:
        index = open_index(cfg.data, cfg.data.val_list, masks=True)
    except NoTruth as reason:
        return str(reason)
    without = index.without_truth()
    if len(without) == len(index):
        return f"list '{cfg.data.val_list}' has no masks to evaluate against"
    if without:
        some = f"{len(without)} of {len(index)} images of list '{cfg.data.val_list}' have no mask"
        return f"{some}, first {without[0].image}; add them, or make a list of the images that have one"
    known = open_index(cfg.data, cfg.data.train_list).class_names
    if problem := other_classes(cfg.data.train_list, known, cfg.data.val_list, index.class_names):
        raise UserError(problem)
    return None


def warn_of_trained(cfg: Config, index: Index) -> None:
    """Warn of images of the validation list whose very files are in the training list, too."""
    train = open_index(cfg.data, cfg.data.train_list)
    cache = Path(cfg.run) / CONTENTS if Path(cfg.run).is_dir() else None
    paths = [record.image for record in index.records]
    sizes = {path.stat().st_size for path in paths}  # files of other sizes need no digest
    trained = digest_files([r.image for r in train.records if r.image.stat().st_size in sizes], cache)
    if both := sum(map(set(trained).__contains__, digest_files(paths, cache))):
        logger.warning(
            "%d of %d images of list '%s' are in list '%s', too: figures on them say little about new images",
            *(both, len(index), cfg.data.val_list, cfg.data.train_list),
        )


def check_truth(index: Index, workers: int) -> None:
    """Read every truth mask once in a process; warn of few contradictions to labels, palette or values, refuse many."""
    if missing := index.without_truth():
        where, none = missing[0].mask or missing[0].image, f"{len(missing)} of {len(index)} have none"
        needs = f"evaluation needs one for each image of the list, and {none}"
        raise UserError(f"there is no truth to evaluate against: {where} has no mask; {needs}")
    files = [Path(record.mask or "") for record in index.records]
    states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    labels = [record.labels for record in index.records]
    key = digest([index.class_names, repr(index.records[0].truth), labels, states])
    if key in _checked:
        return
    rows = list(zip(index.records, _all_facts(index, workers, "check the truth"), strict=True))
    verdict = judge(rows, index.records[0].truth, index.class_names)
    if verdict.problems:
        first, *others = verdict.problems
        raise UserError(first + (f" (python -m data.check lists {len(others)} more problems)" if others else ""))
    for note in verdict.notes:
        logger.warning("%s", note)
    _checked.add(key)


def check_predictions(index: Index, folder: Path, workers: int) -> None:
    """Refuse masks of another program whose values cannot be those of the classes; warn of those that may not be."""
    if run_of(folder) is not None:
        return
    records = [replace(record, mask=folder / f"{record.name}.png", truth=AS_IS) for record in index.records]
    found = _all_facts(replace(index, records=tuple(records)), workers, "check the masks")
    rows = [(record, facts) for record, facts in zip(records, found, strict=True) if not facts.problem]
    if len(rows) < len(records):
        return  # the evaluation refuses what cannot be read, and of the others alone nothing follows
    values, names = {value for _, facts in rows for value in facts.values}, ("background", *index.class_names)
    remedy = f"write class values 0..{len(names) - 1} (0 background, 1 {names[1]}) instead"
    classes = sorted(values - {0, IGNORE})
    if IGNORE in values and not classes:
        what = f"its masks hold {' and '.join(map(str, sorted(values)))} and no class, and 255 counts as background"
        raise UserError(f"{folder}: {what}; {remedy}")
    if reason := palette_reason(rows, index.records[0].truth, remedy)[0]:
        raise UserError(f"{folder}: {reason}")
    shown = {label for record in records for label in record.labels}
    if len(classes) == 1 and len(shown) > 1 and classes[0] < len(names):
        only = f"the masks hold no class but {names[classes[0]]} (value {classes[0]})"
        logger.warning("%s: %s, and the images show %d; if it stands for all, %s", folder, only, len(shown), remedy)
    drawn = {record: {value - 1 for value in facts.values} - {-1, IGNORE - 1} for record, facts in rows}
    other = [record for record, found in drawn.items() if found and record.labels and found.isdisjoint(record.labels)]
    if len(other) >= LEAST and 2 * len(other) > len(rows):
        what = f"{len(other)} of {len(rows)} masks hold none of the labels of their images, first {other[0].mask}"
        logger.warning("%s: %s; if they are of other images or in another order, %s", folder, what, remedy)


def _all_facts(index: Index, workers: int, title: str) -> list[MaskFacts]:
    """Of the mask of each record, in all processes."""
    found = chain.from_iterable(gather(list(read_records(index, _facts, workers, title))))
    return [facts for _, facts in sorted(found, key=lambda row: row[0])]


def _facts(record: Record) -> MaskFacts:
    return read_with_facts(record.mask or "", record.truth, record.labels)[1]
