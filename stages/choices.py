"""Settings that name an entry of a table, checked before there is any work: a typing error is not told after hours of training."""

from data.index import KINDS
from models.backbone import find_builder
from stages.refinement import REFINEMENTS
from stages.walk import WALKS
from utils.choices import pick
from utils.config import Config


def check_choices(cfg: Config) -> None:
    """Check that there is what these settings name.

    Raises:
        UserError: there is not; names the setting, what it may be, and the nearest.
    """
    pick(KINDS, cfg.data.kind, "data.kind")
    find_builder(cfg.model.backbone)
    pick(dict.fromkeys(("none", *WALKS)), cfg.affinity.kind, "affinity.kind")
    pick(dict.fromkeys(("none", *REFINEMENTS)), cfg.pseudo.refine, "pseudo.refine")
    pick(dict.fromkeys(("auto", "none", *REFINEMENTS)), cfg.affinity.refine, "affinity.refine")
