"""What a stage of the pipeline is; utils/pipeline.py runs them, and the table of all is in train.py."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from utils.config import Config, to_dict
from utils.files import digest
from utils.run import Run


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    Attributes:
        name: as in `--stages`.
        title: what it does, for people.
        run: does the work; returns the figures to note and show.
        reads: the settings that it depends on, sections or dotted keys, or what gives them for a configuration.
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
    run: Callable[[Config, Run], dict[str, Any]]
    reads: tuple[str, ...] | Callable[[Config], tuple[str, ...]]
    upstream: tuple[str, ...] = ()
    looks: tuple[str, ...] = ()
    inputs: Callable[[Config], Any] = field(default=lambda cfg: None)
    complete: Callable[[Config, Run], bool] = field(default=lambda cfg, run: True)
    skip: Callable[[Config], str | None] = field(default=lambda cfg: None)
    writes_checkpoint: str | None = None
    shows_result: bool = True

    def base(self, cfg: Config, fingerprints: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        """A digest of all that the output depends on but the code, and the settings in it."""
        settings = settings_of(cfg, self.reads(cfg) if callable(self.reads) else self.reads)
        upstream = [fingerprints[name] for name in self.upstream]
        return digest([self.name, settings, self.inputs(cfg), upstream]), settings


def settings_of(cfg: Config, keys: Sequence[str]) -> dict[str, Any]:
    """The values of sections or dotted keys, by these."""
    values = {}
    for key in keys:
        value: Any = to_dict(cfg)
        for part in key.split("."):
            value = value[part]
        values[key] = value
    return values
