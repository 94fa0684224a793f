"""The table of stages: who reads which setting."""

from dataclasses import replace

import pytest

from stages.config import Config
from stages.walk import WALKS
from train import STAGES

# TODO ['known_keys']

# Settings that no stage's output depends on, or that are part of its input in another way.
IN_THE_DATA = {key for key in known_keys() if key.startswith("data.")} - {"data.colors"}  # `Index.fingerprint`
HOW_NOT_WHAT = {"run", "checkpoint", "device", "channels_last", "compile", "workers"}
SEEN_BY_SKIPPING = {"affinity.kind"}


def read_by_stages(kind: str) -> set[str]:
    cfg = replace(Config(), affinity=replace(Config().affinity, kind=kind))
    found = set()
    for stage in STAGES:
        for key in (*(stage.reads(cfg) if callable(stage.reads) else stage.reads), *stage.looks):
            below = {known for known in known_keys() if known == key or known.startswith(f"{key}.")}
            assert below, f"stage {stage.name} reads {key}, which is no setting"
            found |= below
    return found


def test_every_setting_is_read_by_a_stage_or_said_to_change_no_file():
    read = set().union(*(read_by_stages(kind) for kind in WALKS))
    assert set(known_keys()) == read | IN_THE_DATA | HOW_NOT_WHAT | SEEN_BY_SKIPPING
    assert not read & (IN_THE_DATA | HOW_NOT_WHAT)


@pytest.mark.parametrize(
    ("kind", "others"),
    [
        ("learned", "affinity.feature_"),
        ("features", "affinity.walk_"),
        ("features", "affinity.beta"),
        ("features", "affinity.exp"),
    ],
)
def test_a_walk_depends_on_its_own_settings_alone(kind, others):
    (walk,) = (stage for stage in STAGES if stage.name == "walk")
    reads = walk.reads(replace(Config(), affinity=replace(Config().affinity, kind=kind)))
    assert not [key for key in reads if key.startswith(others)]
    assert "affinity.kind" in reads


def test_stages_wait_for_earlier_ones_only():
    names = [stage.name for stage in STAGES]
    assert len(set(names)) == len(names)
    for place, stage in enumerate(STAGES):
        assert set(stage.upstream) <= set(names[:place])
