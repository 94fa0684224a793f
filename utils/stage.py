"""What a stage of the pipeline is; utils/pipeline.py runs them, and evaluation/stages.py lists them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from utils.files import digest
from utils.run import Run
from utils.settings import RunSettings
from utils.settings import settings_of as part_settings


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    Attributes:
        name: as in `--stages`.
        title: what it does, for people.
        run: does the work; returns the figures to note and show.
        reads: the parts of the configuration that it depends on, beside those of its upstream stages, or what gives them.
        code: functions and classes that decide its output and that `run` finds in a list, for the digest of its code.
        looks: settings that change how its files look and not what they mean, such as colours: a change makes its files
            again, and nothing behind it.
        upstream: stages whose output it reads.
        inputs: anything that JSON can hold which stands for the data that it reads.
        complete: whether its output is all there.
        skip: the reason why it has nothing to do under these settings; None if it has. Its input then passes on.
        writes_checkpoint: the name of the network that it trains, for `checkpoints/best_model.pth`.
        shows_result: whether its figures are shown as a table when it is done; a stage that logs its own does without.
    """

    name: str
    title: str
    run: Callable[[Any, Run], dict[str, Any]]
    reads: tuple[str, ...] | Callable[[Any], tuple[str, ...]]
    upstream: tuple[str, ...] = ()
    code: tuple[Any, ...] = ()
    looks: tuple[str, ...] = ()
    inputs: Callable[[Any], Any] = field(default=lambda cfg: None)
    complete: Callable[[Any, Run], bool] = field(default=lambda cfg, run: True)
    skip: Callable[[Any], str | None] = field(default=lambda cfg: None)
    writes_checkpoint: str | None = None
    shows_result: bool = True

    def base(self, cfg: RunSettings, fingerprints: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        """A digest of all that the output depends on but the code, and the settings in it."""
        settings = settings_of(cfg, self.reads(cfg) if callable(self.reads) else self.reads)
        upstream = [fingerprints[name] for name in self.upstream]
        return digest([self.name, settings, self.inputs(cfg), upstream]), settings


def settings_of(cfg: RunSettings, names: Sequence[str]) -> dict[str, Any]:
    """The settings of parts of a configuration, by their names (`utils.settings.settings_of`)."""
    return {name: part_settings(cfg, name) for name in names}
