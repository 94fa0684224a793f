"""The configuration of a command whose preset chooses from the data (`data.recipe: auto`)."""

from collections.abc import Sequence
from pathlib import Path

from data.index import open_index
from data.recipe import fitting_preset
from stages.config import Config, load_config
from utils.distributed import from_main


def load_fitting_config(
    path: str | Path | None, preset: str | None = None, overrides: Sequence[str] = ()
) -> tuple[Config, str]:
    """`load_config`, and where `data.recipe` is auto with the preset that fits the training list in place of the named.

    Returns:
        The configuration, and the choice with its reason for the log; "" where there was nothing to choose.

    Raises:
        UserError: as `load_config`, or the training list cannot be opened.
    """
    cfg = load_config(path, preset, overrides)
    if cfg.data.recipe != "auto":
        return cfg, ""
    fit = from_main(lambda: fitting_preset(open_index(cfg.data, cfg.data.train_list)))
    if fit.preset:
        cfg = load_config(path, fit.preset, [f"run={cfg.run}", *overrides])
    return cfg, fit.reason
