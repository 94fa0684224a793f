"""Is there truth for each image of a list, and can it be right? Asked before anything is measured."""

import logging

from torch.utils.data import Dataset

from data.dataset import Index, Record
from data.mask_values import MaskFacts, read_with_facts
from data.truth_check import judge
from utils.distributed import gather
from utils.errors import UserError
from utils.files import digest
from utils.reading import read_once

logger = logging.getLogger(__name__)
FEW = 500  # masks, up to which loader processes take longer to start than they save, and threads do
_checked: set[str] = set()  # lists that this process has looked at, by what they were


def check_truth(index: Index, workers: int) -> None:
    """A `UserError` if the truth of any image of the list is not there, or if all of it together cannot be right.

    Every mask is read once for this, the first time that a list is measured by this process.
    """
    if missing := index.without_truth():
        where = missing[0].mask or missing[0].image
        raise UserError(
            f"there is no truth to measure against: {where} has no mask; evaluation needs one for each image of the "
            f"list, "
            f"and {len(missing)} of {len(index)} have none"
        )
    states = [(str(record.mask), record.labels, _state(record)) for record in index.records]
    key = digest([index.class_names, repr(index.records[0].truth), states])
    if key in _checked:
        return
    reader = _Reader(index)
    found: list[tuple[int, MaskFacts]] = []
    for part in gather(
        list(read_once(reader, range(len(index)), workers, "check the truth", threads=len(index) <= FEW))
    ):
        found += part
    rows = [(index.records[position], facts) for position, facts in sorted(found, key=lambda row: row[0])]
    verdict = judge(rows, index.records[0].truth, index.class_names)
    if verdict.problems:
        raise UserError(_first_of(verdict.problems))
    for note in verdict.notes:
        logger.warning("%s", note)
    _checked.add(key)


def _first_of(problems: list[str]) -> str:
    others = len(problems) - 1
    return problems[0] + (f" (and {others} more problems; python -m data.check lists them)" if others else "")


class _Reader(Dataset):
    """(position, what the truth of the record holds)."""

    def __init__(self, index: Index):
        self.records = index.records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, position: int) -> tuple[int, MaskFacts]:
        record = self.records[position]
        assert record.mask is not None  # the list has the truth of each image
        return position, read_with_facts(record.mask, record.truth, record.labels)[1]


def _state(record: Record) -> tuple[int, int]:
    assert record.mask is not None
    state = record.mask.stat()
    return state.st_size, state.st_mtime_ns
