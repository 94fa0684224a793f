"""From a checkpoint, or none, to masks."""

import json

import numpy as np
import pytest
import torch

import utils.compute
from data.transforms import Sides, normalise
from inference.loading import load_predictor
from models.segmenter import class_probabilities
from stages.config import Config, config_from_dict, override
from stages.networks import load_network, save_network
from stages.settings import SegmentReading
from tests.inference.stub import predictions, save
from tests.project import call
from utils.errors import UserError

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


class TestPredictors:
    def test_segmenter_is_the_argmax_of_its_probabilities(self, checkpoints):
        predictor = load_predictor(
            checkpoints["segmenter"], ["pseudo.refine=none", "infer.quality=best", "infer.least_probability=0"]
        )
        network = predictor.network
        tensor = normalise(torch.from_numpy(IMAGE).permute(2, 0, 1), network.backbone.mean, network.backbone.std)
        expected = class_probabilities(network, tensor, (1.0, 0.5), True, (64, 96)).argmax(dim=0).numpy()
        found = predictor.predict(IMAGE)
        values = np.array([0, *(index + 1 for index in found.classes)])
        assert len(found.classes) > 1
        assert np.array_equal(values[found.mask], expected)

    def test_a_setting_that_changes_nothing_is_told(self, checkpoints, caplog):
        read = [
            "segment.flip=false",
            "pseudo.refine=none",
            "infer.runtime=pytorch",
            "data.range=auto",
            "data.enlarge=1",
            "device=cpu",
        ]
        unread = ["pseudo.threshold=0.5", "data.root=x", "cam.scales=[1.0]", "segment.epochs=3"]
        load_predictor(checkpoints["segmenter"], [*read, *unread])
        assert [record.args[0] for record in caplog.records] == [line.split("=")[0] for line in unread]
        caplog.clear()
        load_predictor(checkpoints["classifier"], ["pseudo.threshold=0.5", "cam.scales=[1.0]", "segment.flip=false"])
        assert [record.args[0] for record in caplog.records if record.module == "loading"] == ["segment.flip"]

    @pytest.mark.parametrize("kind", ["classifier", "segmenter"])
    def test_only_classes_that_are_to_be_found_are_found_and_small_images_enlarged(self, checkpoints, kind):
        small = "segment" if kind == "segmenter" else "seeds"
        predictor = load_predictor(checkpoints[kind], [f"{small}.min_side=96"], allowed=("cat", "train"))
        assert predictor._small(IMAGE[:20, :30]).shape == (64, 96, 3)
        found = predictor.predict(IMAGE[:20, :30], [0, 1])
        assert (found.mask.shape, found.maps.shape, found.classes) == ((20, 30), (1, 5, 8), (0,))
        assert [predictor.predict(IMAGE, given).classes for given in ([1, 2], [1])] == [(2,), ()]
        assert set(load_predictor(checkpoints[kind], allowed=["train"]).predict(IMAGE).classes) <= {2}

    def test_only_best_reads_at_several_sizes_and_only_fast_computes_in_bf16(self, checkpoints, monkeypatch):
        monkeypatch.setattr(utils.compute, "fastest_precision", lambda device: "bf16")
        path = checkpoints["segmenter"]
        expected = {"fast": ("bf16", (1.0,), False), "normal": ("off", (1.0,), True), "best": ("off", (1.0, 0.5), True)}
        settings = set()
        for quality, (precision, scales, flip) in expected.items():
            predictor = load_predictor(path, [f"infer.quality={quality}"])
            assert predictor.compute.precision == predictor.settings["precision"] == precision
            assert (predictor.reading.scales, predictor.reading.flip) == (scales, flip)
            settings.add(json.dumps(predictor.settings))
        assert len(settings) == 3
        assert predictor.about["computed_by"] == "PyTorch, float32"
        with pytest.raises(UserError, match="take --quality best"):
            load_predictor(path, ["segment.scales=[1.0,2.0]"])
        assert load_predictor(path, ["segment.scales=[1.0,2.0]", "infer.quality=best"]).reading.scales == (1.0, 2.0)

    def test_a_class_that_is_probable_nowhere_is_not_drawn_but_the_likeliest_and_given_ones_are(
        self, checkpoints, monkeypatch
    ):
        def drawn(first: float, settings: tuple[str, ...] = ()) -> list[set[int]]:
            predictor = load_predictor(checkpoints["segmenter"], ["pseudo.refine=none", *settings])
            cells = torch.full((len(predictor.class_names) + 1, 4, 6), 0.01)
            cells[0], cells[1, :2], cells[2, :, 3:] = 0.3, first, 0.55
            monkeypatch.setattr(predictor, "_cells", lambda images: [cells] * len(images))
            image = np.zeros((16, 24, 3), np.uint8)
            masks = predictor.masks_under(image, [None, [0, 1]])
            for mask, found in zip(masks, predictor.predict_many([image] * 2, [None, [0, 1]]), strict=True):
                assert np.array_equal(mask, np.array([0, *(index + 1 for index in found.classes)])[found.mask])
            return [set(np.unique(mask)) - {0} for mask in masks]

        for first, shown in ((0.65, {1}), (0.58, {1}), (0.5, {2})):
            assert drawn(first) == [shown, {1, 2}]
        assert drawn(0.65, ("infer.least_probability=0",)) == [{1, 2}, {1, 2}]

    def test_one_size_is_the_nearest_to_the_image_s_own(self):
        reading = SegmentReading(scales=(0.5, 1.25, 2.0), flip=True)
        assert reading.at("normal") == SegmentReading(scales=(1.25,), flip=True)
        assert reading.at("fast") == SegmentReading(scales=(1.25,), flip=False)
        assert reading.at("best") == reading

    def test_a_classifier_that_holds_all_for_unlikely_shows_nothing(self, checkpoints):
        predictor = load_predictor(checkpoints["classifier"])
        for logits, found in (([-3.0, -2.0, -4.0], []), ([-3.0, -1.0, -4.0], [1]), ([3.0, -1.0, 4.0], [0, 2])):
            assert predictor.choose(None, torch.tensor(logits)) == found

    def test_any_size_of_image(self, checkpoints):
        for path in checkpoints.values():
            predictor = load_predictor(path)
            for size in ((1, 1), (3, 700), (33, 31)):
                assert predictor.predict(np.full((*size, 3), 90, np.uint8)).mask.shape == size

    def test_the_networks_of_the_project_step_in_with_a_message(self, tmp_path, monkeypatch):
        save(tmp_path / "in/a.jpg", (32, 40))
        monkeypatch.chdir(tmp_path)
        ended = call("infer", "--input", "in").well()
        assert "checkpoints/voc12_compact.pth (20 classes of photographs)" in ended.out
        assert predictions(tmp_path / "out")["network"]["classes"] == 20
        settings = ("--model_path", "imagenet", "--set", "seeds.max_side=64", "--set", "ibb.enabled=false")
        call("infer", "--input", "in", *settings).well()
        found = predictions(tmp_path / "out")["images"][0]["classes"]
        assert 1 <= len(found) <= 3
        assert [row["value"] for row in sorted(found, key=lambda row: row["value"])] == list(range(1, len(found) + 1))
        assert predictions(tmp_path / "out")["network"]["classes"] == 1000


def test_masks_are_refined_as_the_checkpoint_says_unless_told_otherwise(checkpoints, tmp_path):
    network, kept = load_network(checkpoints["segmenter"])
    cfg = override(config_from_dict(kept.config, "it"), ["infer.refine=none"])
    path = tmp_path / "inspection.pth"
    save_network(path, "segmenter", network, kept.class_names, cfg, {})
    assert load_predictor(checkpoints["segmenter"]).cfg.pseudo.refine == "par"
    assert load_predictor(path).cfg.pseudo.refine == "none"
    assert load_predictor(path, settings=cfg.changed("pseudo", refine="par")).cfg.pseudo.refine == "none"
    assert load_predictor(path, ["infer.refine=par"]).cfg.pseudo.refine == "par"
    assert load_predictor(path, ["pseudo.refine=par"]).cfg.pseudo.refine == "par"
    given = load_predictor(checkpoints["classifier"], ["pseudo.refine=none", "seeds.max_side=100"])
    assert (given.settings["pseudo"]["refine"], given.sides) == ("none", Sides(0, 100))
    assert override(Config(), ["infer.quality=full"]).infer.quality == "normal"  # of earlier files
