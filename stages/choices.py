"""Settings that name an entry of a table; a typing error is found before any work."""

import dataclasses

from data.index import KINDS
from models.backbone import find_builder
from models.dense_crf import has_dense_crf
from stages.config import Config
from stages.refinement import REFINEMENTS
from stages.walk import WALKS
from utils.choices import pick


def check_choices(cfg: Config) -> None:
    """Check that the entries exist.

    Raises:
        UserError: one does not; names the setting, the known entries and the nearest one.
    """
    pick(KINDS, cfg.data.kind, "data.kind")
    find_builder(cfg.model.backbone)
    pick(dict.fromkeys(("none", *WALKS)), cfg.affinity.kind, "affinity.kind")
    pick(dict.fromkeys(("none", *REFINEMENTS)), cfg.pseudo.refine, "pseudo.refine")
    pick(dict.fromkeys(("auto", "none", *REFINEMENTS)), cfg.affinity_training.refine, "affinity.refine")


def resolve_choices(cfg: Config) -> tuple[Config, str]:
    """The configuration with `affinity.refine: auto` decided, and a line for the log if PAR was chosen.

    This comes before any fingerprint: another machine may decide otherwise.
    """
    if cfg.affinity_training.refine != "auto":
        return cfg, ""
    kind = "crf" if has_dense_crf() else "par"
    decided = dataclasses.replace(cfg, affinity_training=dataclasses.replace(cfg.affinity_training, refine=kind))
    if kind == "crf" or cfg.affinity.kind != "learned":
        return decided, ""
    return decided, (
        "affinity  confident labels are refined by PAR; for the dense CRF, as published: "
        "pip install -r requirements-extras.txt"
    )
