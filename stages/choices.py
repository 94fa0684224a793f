"""Settings that name an entry of a table; a typing error is found before any work."""

from data.index import KINDS
from models.backbone import find_builder
from models.dense_crf import has_dense_crf
from stages.refinement import REFINEMENTS
from stages.settings import Config
from stages.walk import WALKS
from utils.choices import pick


def check_choices(cfg: Config) -> None:
    """Check that the entries exist.

    Raises:
        UserError: one does not; names the setting, the known entries and the nearest one.
    """
    pick(KINDS, cfg.data.kind, "data.kind")
    find_builder(cfg.model.backbone)
    pick(dict.fromkeys(("none", *WALKS)), cfg.part("affinity").kind, "affinity.kind")
    pick(dict.fromkeys(("none", *REFINEMENTS)), cfg.pseudo.refine, "pseudo.refine")
    pick(dict.fromkeys(("none", *REFINEMENTS)), cfg.infer.refine, "infer.refine")
    pick(dict.fromkeys(("auto", "none", *REFINEMENTS)), cfg.part("affinity_training").refine, "affinity.refine")


def resolve_choices(cfg: Config) -> tuple[Config, str]:
    """The configuration with `affinity.refine: auto` decided, and a line for the log if PAR was chosen.

    This comes before any fingerprint: another machine may decide otherwise.
    """
    if cfg.part("affinity_training").refine != "auto":
        return cfg, ""
    kind = "crf" if has_dense_crf() else "par"
    decided = cfg.changed("affinity_training", refine=kind)
    if kind == "crf" or cfg.part("affinity").kind != "learned":
        return decided, ""
    return decided, (
        "affinity  confident labels are refined by PAR; for the dense CRF, as published: "
        "pip install -r requirements-extras.txt"
    )
