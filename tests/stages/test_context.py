"""Stages context and remove, from the seeds of a finished tiny run on: what they write, redo, and leave out."""

import shutil

import numpy as np
import pytest
import torch

from data.artifacts import read_seed, write_seed
from models.context import ContextDiscriminant, context_stage
from models.reading import normalise_maps
from stages.config import load_config
from stages.context import context_features, open_context
from stages.networks import load_classifier
from tests.models.tiny import TinyBackbone, make_image, random_maps, tiny_classifier
from tests.project import Project, names
from utils.errors import UserError


def test_maps_are_multiplied_by_the_similarity_to_their_class_and_those_of_small_objects_keep_their_grid(tmp_path):
    classifier, image = tiny_classifier(), make_image()
    channels = classifier.backbone.channels[context_stage(classifier.backbone)]
    classifier.context = ContextDiscriminant(4, channels).requires_grad_(False)  # 1 / 2 everywhere
    cfg, maps = load_config(None, overrides=["cam.map_stride=4", "context.scales=[2.0]"]), random_maps(1, 16, 24)
    change = open_context(cfg, tmp_path, classifier)
    torch.testing.assert_close(change.change(maps, change.see(image, [1], (16, 24))), normalise_maps(maps))
    classifier.context.weight.normal_(std=4.0, generator=torch.Generator().manual_seed(0))
    change, maps = open_context(load_config(None), tmp_path, classifier), random_maps(2, 8, 12)
    found = change.change(maps, change.see(image, [1, 3], (8, 12)))
    similarity = classifier.context(context_features(classifier, image, (1.0,)), [1, 3])
    torch.testing.assert_close(found, normalise_maps(maps * similarity))
    assert not torch.allclose(found, maps, atol=0.05)


def test_the_classifier_learns_its_context_and_stays_what_it_is_and_one_without_is_named(finished: Project, tmp_path):
    plain, taught = (load_classifier(finished.run / name) for name in ("classifier.pth", "context.pth"))
    assert plain.context is None
    assert taught.context is not None
    assert taught.context.weight.shape == (2, 6, TinyBackbone.channels[3])  # of the first stage of stride 16
    state = taught.state_dict()
    for name, tensor in plain.state_dict().items():
        assert torch.equal(state[name], tensor)
    shutil.copy(finished.run / "classifier.pth", tmp_path / "context.pth")
    with pytest.raises(UserError, match=r"context\.pth holds a classifier without context; run stage"):
        open_context(load_config(None), tmp_path, plain)


def test_changed_seeds_have_the_form_of_seeds_and_other_classes_are_asked_where_there_are_enough(project: Project):
    for number, name in enumerate(names(project, "train")):
        path = project.run / "seeds" / f"{name}.npz"
        seed = read_seed(path)
        # A fresh backbone's seeds are confident of nothing or everything.
        seed.maps[:] = np.random.default_rng(number).random(seed.maps.shape)
        write_seed(path, seed)
    for least, asked in ((10, False), (1, True)):
        settings = ("--set", "context.hi=0.7", "--set", f"context.least_others={least}")
        ended = project.train(*settings, "--stages", "context,remove").well()
        assert ended.stages("done") == ["context", "remove"]
        own, others = load_classifier(project.run / "context.pth").context.weight
        assert own.abs().sum() > 0
        assert torch.equal(own, others) != asked
        for name in names(project, "train"):
            seed, changed = (read_seed(project.run / folder / f"{name}.npz") for folder in ("seeds", "seeds_context"))
            assert (changed.classes == seed.classes).all()
            assert changed.maps.shape == seed.maps.shape
            assert 0.7 < changed.maps.max() <= 1  # noise that is resized loses its peak
            assert not np.array_equal(changed.maps, seed.maps)
