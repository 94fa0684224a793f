"""What a step over the data set is: it learns from all seeds, and changes the maps of one image."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.classifier import Classifier
from stages.reading import Change
from stages.settings import Config
from utils.run import Run
from utils.settings import Part


@dataclass(frozen=True)
class Fit:
    """The stage in which a step learns."""

    stage: str  # its name
    title: str  # what it does, for people
    run: Callable[[Config, Run, Path], dict[str, Any]]  # configuration, run, folder of the seeds before -> figures
    reads: tuple[str, ...]  # the parts of the configuration
    writes: str  # the file of the network that it trains
    publishes: bool = True  # whether that network gives masks; it is then copied to where infer.py finds it
    reads_with_hints: tuple[str, ...] = ()  # what it reads, too, where there are hints
    skip: Callable[[Config], str | None] = lambda cfg: None  # why there is nothing to learn, or None


@dataclass(frozen=True)
class Apply:
    """The stage in which a step changes the seeds; `reads` is what it reads beside `Fit.reads`."""

    stage: str
    title: str
    reads: Callable[[Config], tuple[str, ...]]
    open: Callable[[Config, Path, Classifier], Change]  # with the folder of the networks
    files: Callable[[Config, Classifier], tuple[str, ...]]  # networks that it needs in that folder, beside a classifier


@dataclass(frozen=True)
class DatasetStep:
    """A step over the data set."""

    name: str  # its key in the ablation; its seeds are in the folder `seeds_NAME`
    title: str  # what tables call it
    skip: Callable[[Config], str | None]  # why it is left out under these settings, or None
    apply: Apply
    fit: Fit
    settings: tuple[Part, ...]

    @property
    def folder(self) -> str:
        """The folder of its seeds in a run."""
        return f"seeds_{self.name}"
