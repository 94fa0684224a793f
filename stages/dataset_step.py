"""What a step over the data set is: it learns from all seeds (or does not), and changes the maps of one image.

Add it to `DATASET_STEPS` (stages/dataset_steps.py). Its settings in config.yaml, the stages of the pipeline,
the rows of the report and of the ablation, and what infer.py does with a classifier follow from there.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.classifier import Classifier
from stages.reading import Change
from stages.settings import Config
from utils.run import Run
from utils.settings import Part


@dataclass(frozen=True)
class Fit:
    """The stage in which a step learns.

    Attributes:
        stage: its name.
        title: what it does, for people.
        run: (configuration, run, folder of the seeds before) -> figures.
        reads: the parts of the configuration that it reads.
        writes: the file of the network that it trains.
        publishes: whether that network gives masks; it is then copied to where infer.py finds it.
        skip: the reason why there is nothing to learn; None if there is.
    """

    stage: str
    title: str
    run: Callable[[Config, Run, Path], dict[str, Any]]
    reads: tuple[str, ...]
    writes: str
    publishes: bool = True
    skip: Callable[[Config], str | None] = field(default=lambda cfg: None)


@dataclass(frozen=True)
class Apply:
    """The stage in which a step changes the seeds.

    Attributes:
        stage: its name.
        title: what it does, for people.
        reads: the parts of the configuration that changing a seed reads, beside those of `Fit`.
        open: (configuration, folder of the networks, classifier) -> what it does to an image.
        files: (configuration, classifier) -> the networks of the run folder that it needs, beside that classifier.
    """

    stage: str
    title: str
    reads: Callable[[Config], tuple[str, ...]]
    open: Callable[[Config, Path, Classifier], Change]
    files: Callable[[Config, Classifier], tuple[str, ...]] = field(default=lambda cfg, classifier: ())


@dataclass(frozen=True)
class DatasetStep:
    """A step over the data set.

    Attributes:
        name: its key in the ablation; its seeds are in the folder `seeds_NAME`.
        title: what tables call it.
        settings: its classes of settings: name in the configuration, section of config.yaml, class.
        skip: the reason why the step is left out under these settings; None if it is not.
        apply: the stage in which it changes the seeds.
        fit: the stage in which it learns; None where it learns nothing.
    """

    name: str
    title: str
    skip: Callable[[Config], str | None]
    apply: Apply
    fit: Fit | None = None
    settings: tuple[Part, ...] = ()

    @property
    def folder(self) -> str:
        """The folder of its seeds in a run."""
        return f"seeds_{self.name}"
