import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import data.dataset
from data.artifacts import read_mask, write_mask
from data.dataset import MAX_CLASSES, Index, Record, TrainingImages, TrainingSampler, WholeImages, check_index
from data.transforms import RandomCrop
from data.voc import open_voc
from utils.errors import UserError

CROP = RandomCrop(crop_size=32, mean=(0.5,) * 3, std=(0.5,) * 3, scale_range=(0.5, 2.0))


def index_of(*labels: tuple[int, ...], classes: int = 3) -> Index:
    """Records `r0`, `r1`, ... with those labels; there are no files."""
    records = tuple(Record(f"r{i}", f"r{i}.jpg", present) for i, present in enumerate(labels))
    return Index(tuple(f"class {i}" for i in range(classes)), records)


class TestIndex:
    def test_label_counts(self):
        assert index_of((0,), (0, 2), ()).label_counts() == {"class 0": 2, "class 1": 0, "class 2": 1}
        assert index_of((), ()).label_counts() == {"class 0": 0, "class 1": 0, "class 2": 0}

    def test_check_refuses_no_images_duplicates_and_too_many_classes(self):
        good = index_of((0,), (1,))
        assert check_index(good, "the list") is good
        with pytest.raises(UserError, match="the list has no images"):
            check_index(index_of(), "the list")
        with pytest.raises(UserError, match="the list names 'r0' twice"):
            check_index(dataclasses.replace(good, records=(*good.records, good.records[0])), "the list")
        assert len(check_index(index_of((), classes=MAX_CLASSES), "the list").class_names) == 254
        with pytest.raises(UserError, match=r"the list has 255 classes; .* at most 254"):
            check_index(index_of((), classes=MAX_CLASSES + 1), "the list")

    def test_without_truth(self, make_voc):
        root = make_voc(6)
        assert open_voc(root, "val", masks=True).without_truth() == []
        assert len(open_voc(root, "val").without_truth()) == 2
        (root / "SegmentationClass/p5.png").unlink()
        assert [record.name for record in open_voc(root, "val", masks=True).without_truth()] == ["p5"]

    def test_fingerprint_names_a_missing_image(self, tmp_path):
        index = Index(("cat",), (Record("a", tmp_path / "a.jpg", (0,)),))
        with pytest.raises(UserError, match=r"a\.jpg does not exist, though it is listed"):
            index.fingerprint()

    @pytest.mark.parametrize("name", ["..", "a/../b", "/a", "C:a", "a\0", "nul", "x" * 256])
    def test_a_name_that_could_be_written_elsewhere_is_refused(self, name):
        index = Index(("cat",), (Record(name, Path("a.jpg"), (0,)),))
        with pytest.raises(UserError, match=r"the list has an image '.*', whose name .*; rename it"):
            check_index(index, "the list")


class TestTrainingImages:
    def test_items(self, make_voc):
        root = make_voc(6)
        index = open_voc(root, "train")
        item = TrainingImages(index, CROP)[1, 5]
        assert set(item) == {"pixels", "covered", "labels", "name"}
        assert item["name"] == "p1"
        assert item["labels"].tolist() == [0, 1, 1]
        assert item["pixels"].shape == (32, 32, 3)
        assert item["pixels"].dtype == torch.uint8

    def test_a_draw_is_the_same_wherever_it_is_made(self, make_voc):
        index = open_voc(make_voc(6), "train")
        one, other = TrainingImages(index, CROP), TrainingImages(index, CROP)
        other[0, 1]
        assert torch.equal(one[1, 5]["pixels"], other[1, 5]["pixels"])
        assert not torch.equal(one[1, 5]["pixels"], one[1, 6]["pixels"])

    def test_truth_is_never_read(self, make_voc, monkeypatch):
        """The same items with the truth there, even asked for, and with the folder removed."""
        root = make_voc(6)
        images = TrainingImages(open_voc(root, "train"), CROP)
        asked_for = TrainingImages(open_voc(root, "train", masks=True), CROP)
        with_truth = [images[i, 3] for i in range(len(images))]
        shutil.rmtree(root / "SegmentationClass")

        def refuse(path):
            raise AssertionError(f"{path} was read")

        monkeypatch.setattr(data.dataset, "read_mask", refuse)
        fresh = TrainingImages(open_voc(root, "train"), CROP)
        for i, expected in enumerate(with_truth):
            for item in (fresh[i, 3], asked_for[i, 3]):
                assert set(item) == {"pixels", "covered", "labels", "name"}
                assert torch.equal(item["pixels"], expected["pixels"])

    def test_masks_come_from_the_given_folder_and_not_from_the_truth(self, make_voc, tmp_path):
        root = make_voc(6)
        index = open_voc(root, "train", masks=True)
        for record in index.records:
            shape = read_mask(record.mask).shape
            write_mask(tmp_path / "pseudo" / f"{record.name}.png", np.full(shape, 9))
        item = TrainingImages(index, CROP, tmp_path / "pseudo")[0, 4]
        assert set(item["mask"].unique().tolist()) <= {9, 255}
        assert 9 in item["mask"]

    def test_missing_mask_and_mask_of_another_size_are_named(self, make_voc, tmp_path):
        images = TrainingImages(open_voc(make_voc(6), "train"), CROP, tmp_path)
        with pytest.raises(UserError, match=r"no mask .*p0\.png"):
            images[0, 0]
        write_mask(tmp_path / "p0.png", np.zeros((40, 30)))
        with pytest.raises(UserError, match=r"mask .*p0\.png has 30 x 40 pixels, its image .*p0\.jpg has 40 x 30"):
            images[0, 0]


class TestWholeImages:
    def test_items(self, make_voc):
        root = make_voc(6)
        images = WholeImages(open_voc(root, "val"))
        assert [images[i]["image"].shape for i in range(2)] == [(3, 30, 40), (3, 40, 30)]
        assert images[0]["image"].dtype == torch.uint8
        assert set(images[0]) == {"image", "labels", "name"}

    def test_masks_where_the_index_has_them(self, make_voc):
        root = make_voc(6)
        for item in WholeImages(open_voc(root, "val", masks=True)):
            assert item["mask"].dtype == torch.int64
            assert item["mask"].shape == item["image"].shape[1:]
            values = set(item["mask"].unique().tolist()) - {0, 255}
            assert values == {i + 1 for i in item["labels"].nonzero().flatten().tolist()}


class TestTrainingSampler:
    @pytest.mark.parametrize(("length", "batch_size"), [(12, 4), (13, 4), (7, 7), (3, 8), (1, 1), (50, 1)])
    def test_epochs_are_permutations_less_the_last_short_batch(self, length, batch_size):
        sampler = TrainingSampler(length, batch_size, seed=3)
        batch = min(batch_size, length)
        orders = []
        for epoch in range(4):
            sampler.start(epoch)
            positions = [position for position, _ in sampler]
            assert len(positions) == len(sampler) == length // batch * batch
            assert len(set(positions)) == len(positions)
            assert set(positions) <= set(range(length))
            orders.append(positions)
        if length > 6:
            assert len({tuple(order) for order in orders}) == 4

    @pytest.mark.parametrize("step", [0, 1, 2, 3])
    def test_starting_at_a_step_gives_the_tail_of_the_same_order(self, step):
        whole, tail = TrainingSampler(13, 4, seed=5), TrainingSampler(13, 4, seed=5)
        whole.start(2)
        tail.start(2, step)
        expected = list(whole)[4 * step :]
        assert list(tail) == expected
        assert len(tail) == len(expected)

    def test_augmentation_seeds_differ_between_images_and_epochs(self):
        sampler = TrainingSampler(20, 4, seed=1)
        seeds = []
        for epoch in range(3):
            sampler.start(epoch)
            seeds += [seed for _, seed in sampler]
        assert len(set(seeds)) == 60
        assert all(0 <= seed < 2**63 for seed in seeds)

    def test_fewer_images_than_a_batch_are_one_short_batch(self):
        sampler = TrainingSampler(3, 16, seed=0)
        assert (sampler.batch_size, sampler.steps_per_epoch) == (3, 1)
        assert sorted(position for position, _ in sampler) == [0, 1, 2]
