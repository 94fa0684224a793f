"""The configuration from config.yaml, a preset and `--set`, or from a checkpoint.

cfg = load_config("config.yaml", preset="voc12", overrides=["data.root=/data/VOC2012"])
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data.index import KINDS, open_index
from models.backbone import find_builder
from models.refinement import has_dense_crf, no_dense_crf
from models.steps import STEPS
from stages.dataset_steps import DATASET_STEPS
from stages.pseudo import REFINEMENTS
from stages.recipe import fit_of
from stages.settings import Config as Config
from stages.walk import WALKS
from utils.config_file import Given, build_parts, flatten, parse_overrides, read_values
from utils.distributed import from_main
from utils.errors import UserError, pick
from utils.settings import Part, known_keys

logger = logging.getLogger(__name__)

MACHINE = ("run", "checkpoint", "device", "workers")  # what is of the machine, and changes no result
SIZES = ("crop_size", "resize_long", "min_side", "max_side")  # settings of several sections, in pixels
RENAMED_VALUES = {"infer.quality": {"full": "normal"}}  # in files of earlier versions
# Settings of earlier versions, and the value at which they did nothing (false is 0): a file that has it is as it was.
REMOVED = dict.fromkeys(("ibb.find_threshold", "affinity.feature_least"), 0)
REMOVED |= dict.fromkeys(("segment.average", "segment.paste", "segment.image_loss"), 0)


def parts() -> list[Part]:
    """Every class of settings, in the order of the file."""
    own = {part: part.kind() for step in DATASET_STEPS for part in step.settings}
    return [part for part, _ in Config(dataset_steps=own).parts()]


def load_config(path: str | Path | None, preset: str | None = None, overrides: Sequence[str] = ()) -> Config:
    """A configuration of a YAML file (None: the defaults), a preset (None: the file's), and `key.sub=value` strings."""
    return _enlarged(_read(path, preset, overrides))


def _read(path: str | Path | None, preset: str | None, overrides: Sequence[str]) -> Config:
    return _build(read_values(path, preset, _sections()) | _set_by_hand(overrides))


def load_fitting_config(
    path: str | Path | None, preset: str | None = None, overrides: Sequence[str] = ()
) -> tuple[Config, str]:
    """`load_config`, with the preset that fits the training list where `data.recipe` is auto; and why, for the log.

    What the named preset says of the data and the machine is kept. The choice holds for the settings of the run.
    """
    cfg = _read(path, preset, overrides)
    if Path(cfg.run).resolve() == Path(cfg.data.root).resolve():
        what = f"the run folder {cfg.run} is the folder of the data, too, and a run's own images are not read"
        raise UserError(f"{what}; give another folder with --run")
    if cfg.data.recipe != "auto":
        return _enlarged(cfg), ""
    fit = from_main(lambda: fit_of(cfg, open_index(cfg.data, cfg.data.train_list)))
    cfg = cfg.changed("data", recipe="named")
    if fit.preset:
        kept = {key: getattr(cfg, key) for key in ("data", "seed", *MACHINE)}
        cfg = replace(_read(path, fit.preset, overrides), **kept)
    factor = fit.factor(cfg.data.enlarge, cfg.segmenter)
    return _enlarged(cfg.changed("data", enlarge=factor)), fit.message(cfg.segmenter, factor)


def check_choices(cfg: Config) -> None:
    """Raise a `UserError` with the nearest name where a setting names an entry that its table does not have."""
    pick(KINDS, cfg.data.kind, "data.kind")
    find_builder(cfg.model.backbone)
    pick(dict.fromkeys(("none", *WALKS)), cfg.part("affinity").kind, "affinity.kind")
    pick(dict.fromkeys(("none", *REFINEMENTS)), cfg.pseudo.refine, "pseudo.refine")
    pick(dict.fromkeys(("none", *REFINEMENTS)), cfg.infer.refine, "infer.refine")
    pick(dict.fromkeys(("auto", "none", *REFINEMENTS)), cfg.part("affinity_training").refine, "affinity.refine")


def resolve_choices(cfg: Config) -> tuple[Config, str]:
    """The configuration with `affinity.refine: auto` decided, before any fingerprint; a line for the log if PAR is.

    A `UserError` if a stage would need the dense CRF and its package is missing, before the stages that take hours.
    """
    refinements = {"pseudo.refine": cfg.pseudo.refine, "infer.refine": cfg.infer.refine}
    if cfg.part("affinity").kind == "learned":
        refinements["affinity.refine"] = cfg.part("affinity_training").refine
    for name, kind in refinements.items():
        if kind == "crf" and not has_dense_crf():
            raise no_dense_crf(f"{name}=crf")
    if cfg.part("affinity_training").refine != "auto":
        return cfg, ""
    kind = "crf" if has_dense_crf() else "par"
    decided = cfg.changed("affinity_training", refine=kind)
    if kind == "crf" or cfg.part("affinity").kind != "learned":
        return decided, ""
    crf = "for the dense CRF, as published: pip install -r requirements-extras.txt"
    return decided, f"affinity  confident labels are refined by PAR; {crf}"


def config_from_dict(nested: dict[str, Any], where: str) -> Config:
    """The configuration that `to_dict` wrote, for example inside a checkpoint; unknown settings are warned of."""
    flat = flatten(nested, lambda key: where, _sections())
    known = known_keys(parts())
    if unknown := sorted(_still_meant(flat).keys() - known.keys()):
        logger.warning("%s: settings %s are not known here and are left out", where, ", ".join(unknown))
    return _build({key: value for key, value in flat.items() if key in known})


def override(cfg: Config, overrides: Sequence[str]) -> Config:
    """A configuration with `key.sub=value` strings on top."""
    return _enlarged(_build(flatten(cfg.to_dict(), str, _sections()) | _set_by_hand(overrides)))


def _set_by_hand(overrides: Sequence[str]) -> Given:
    """The values of `--set`; whoever sets the threshold wants that one, and none that is found."""
    values = parse_overrides(overrides)
    if "pseudo.threshold" in values:
        values = {"pseudo.find_threshold": (False, values["pseudo.threshold"][1])} | values
    return values


def changed_settings(nested: dict[str, Any]) -> dict[str, Any]:
    """Of settings as `to_dict` gives them, by dotted name, those that differ from the published protocol's."""
    default = flatten(load_config(None).to_dict(), str, _sections())
    given = flatten(nested, str, {name for name, value in nested.items() if isinstance(value, dict)})
    return {key: value for key, (value, where) in given.items() if default.get(key) != (value, where)}


def _sections() -> set[str]:
    return {part.section for part in parts()} - {""}


def _still_meant(values: Given) -> Given:
    return {key: given for key, given in values.items() if key not in REMOVED or given[0] != REMOVED[key]}


def _enlarged(cfg: Config) -> Config:
    """The same with the sizes that `data.enlarge` means, and without it, so that they do not grow again."""
    factor = cfg.data.enlarge
    if factor == "auto":
        return cfg
    values = flatten(cfg.changed("data", enlarge="auto").to_dict(), str, _sections())
    for key, (size, where) in values.items():
        if key.split(".")[-1] in SIZES and size:
            sides = [round(factor * side) for side in (size if isinstance(size, list) else [size])]
            values[key] = (sides if isinstance(size, list) else sides[0]), where
    return _build(values)


def _build(values: Given) -> Config:
    values = _still_meant(values)
    for key in values.keys() & RENAMED_VALUES.keys():
        value, where = values[key]
        values[key] = RENAMED_VALUES[key].get(str(value), value), where
    built = build_parts(parts(), values)
    run = built.pop("")
    chosen = tuple(built.pop(f"steps.{step.name}") for step in STEPS)
    own = {part: built.pop(part.attribute) for step in DATASET_STEPS for part in step.settings}
    return Config(**vars(run), steps=chosen, dataset_steps=own, **built)
