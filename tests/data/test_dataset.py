import dataclasses
import itertools
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from data.artifacts import read_mask, write_mask
from data.dataset import Index, Record, TrainingImages, TrainingSampler, WholeImages, check_index, hold_back
from data.transforms import RandomCrop
from data.voc import open_voc
from tests.project import refused
from utils.errors import UserError

CROP = RandomCrop(crop_size=32, mean=(0.5,) * 3, std=(0.5,) * 3, scale_range=(0.5, 2.0))


def index_of(*labels: tuple[int, ...], classes: int = 3) -> Index:
    """Records `r0`, `r1`, ... with those labels; there are no files."""
    records = tuple(Record(f"r{i}", Path(f"r{i}.jpg"), present) for i, present in enumerate(labels))
    return Index(tuple(f"class {i}" for i in range(classes)), records)


def test_check_index_refuses_no_images_duplicates_and_too_many_classes():
    good = index_of((0,), (1,))
    assert index_of((0,), (0, 2), ()).label_counts() == {"class 0": 2, "class 1": 0, "class 2": 1}
    assert check_index(good, "the list") is good
    assert len(check_index(index_of((), classes=254), "the list").class_names) == 254
    outside = Index(("cat",), (Record("a/../b", Path("a.jpg"), (0,)),))
    for index, message in (
        (index_of(), "the list has no images"),
        (dataclasses.replace(good, records=(*good.records, good.records[0])), "the list names 'r0' twice"),
        (index_of((), classes=255), "the list has 255 classes; .* at most 254"),
        (outside, r"the list has an image '.*', whose name leads out .*; rename it"),
    ):
        refused(message, check_index, index, "the list")
    refused(r"r0\.jpg does not exist, though it is listed", good.fingerprint)


class TestTrainingImages:
    def test_items_are_the_same_wherever_they_are_made(self, make_voc):
        index = open_voc(make_voc(6), "train")
        one, other = TrainingImages(index, CROP), TrainingImages(index, CROP)
        item = one[1, 5]
        assert item.keys() == {"pixels", "covered", "labels", "name"}
        assert (item["name"], item["labels"].tolist()) == ("p1", [0, 1, 1])
        assert (item["pixels"].shape, item["pixels"].dtype) == ((32, 32, 3), torch.uint8)
        other[0, 1]
        assert torch.equal(item["pixels"], other[1, 5]["pixels"])
        assert not torch.equal(item["pixels"], one[1, 6]["pixels"])

    def test_truth_is_never_read(self, make_voc):
        """The same items with the truth there, even asked for, and with the folder removed."""
        root = make_voc(6)
        images, asked_for = (TrainingImages(open_voc(root, "train", masks=masks), CROP) for masks in (False, True))
        with_truth = [images[i, 3] for i in range(len(images))]
        shutil.rmtree(root / "SegmentationClass")
        fresh = TrainingImages(open_voc(root, "train"), CROP)
        for i, expected in enumerate(with_truth):
            for item in (fresh[i, 3], asked_for[i, 3]):
                assert item.keys() == {"pixels", "covered", "labels", "name"}
                assert torch.equal(item["pixels"], expected["pixels"])

    def test_masks_come_from_the_given_folder_and_fit(self, make_voc, tmp_path):
        index = open_voc(make_voc(6), "train", masks=True)
        images = TrainingImages(index, CROP, tmp_path / "pseudo")
        with pytest.raises(UserError, match=r"no mask .*p0\.png"):
            images[0, 0]
        path = tmp_path / "pseudo/p0.png"
        write_mask(path, np.full(read_mask(index.records[0].mask).shape, 9))
        assert {9} <= set(images[0, 4]["mask"].unique().tolist()) <= {9, 255}
        write_mask(path, np.zeros((40, 30)))
        with pytest.raises(UserError, match=r"mask .*p0\.png has 30 x 40 pixels, its image .*p0\.jpg has 40 x 30"):
            images[0, 0]


def test_whole_images_have_masks_where_the_index_has_them(make_voc):
    root = make_voc(6)
    images = WholeImages(open_voc(root, "val"))
    assert [images[i]["image"].shape for i in range(2)] == [(3, 30, 40), (3, 40, 30)]
    assert images[0]["image"].dtype == torch.uint8
    assert images[0].keys() == {"image", "labels", "name"}
    for item in WholeImages(open_voc(root, "val", masks=True)):
        assert (item["mask"].dtype, item["mask"].shape) == (torch.int64, item["image"].shape[1:])
        values = set(item["mask"].unique().tolist()) - {0, 255}
        assert values == {i + 1 for i in item["labels"].nonzero().flatten().tolist()}


def test_each_pass_of_the_sampler_is_a_permutation_less_the_last_short_batch():
    once = [(12, 4, 1), (13, 4, 1), (3, 8, 1), (1, 1, 1), (50, 1, 1)]
    for length, batch_size, passes in (*once, (12, 16, 5), (16, 16, 3), (37, 16, 4)):
        sampler = TrainingSampler(length, batch_size, seed=3, passes=passes)
        orders, seeds = [], []
        for epoch in range(4):
            sampler.start(epoch)
            found = list(sampler)
            batch = min(batch_size, length)
            assert len(found) == len(sampler) == passes * length // batch * batch
            positions = [position for position, _ in found]
            for start in range(0, len(found) - length + 1, length):
                assert len(set(positions[start : start + length])) == length
            assert set(positions) <= set(range(length))
            assert max(Counter(positions).values()) <= passes
            orders.append(positions)
            step = len(found) // batch // 2
            sampler.start(epoch, step)
            tail = list(sampler)
            assert tail == found[step * batch :]
            assert len(tail) == len(sampler)
            seeds += [seed for _, seed in found]
        assert length < 12 or len({tuple(order) for order in orders}) == 4
        assert len(set(seeds)) == len(seeds)
        assert all(0 <= seed < 2**63 for seed in seeds)


def test_holding_back_keeps_the_order_takes_of_each_group_and_class_and_follows_the_seed():
    whole = index_of(*[(0,)] * 40, *[(1,)] * 8, *[(0, 1)] * 3, *[()] * 100, classes=2)
    kept, held = hold_back(whole, 0.25, seed=0)
    positions = [[whole.records.index(record) for record in part.records] for part in (kept, held)]
    assert sorted([*positions[0], *positions[1]]) == list(range(151))
    assert positions[0] == sorted(positions[0])
    assert (*held.label_counts().values(), *kept.label_counts().values()) == (10, 2, 33, 9)
    assert sum(not record.labels for record in held.records) == 25
    again, other = (hold_back(whole, 0.25, seed)[1] for seed in (0, 2))
    assert held == again != other
    # Each combination alone is too rare: ten pairs of classes, four images of each.
    pairs = [pair for pair in itertools.combinations(range(5), 2) for _ in range(4)]
    _, held = hold_back(index_of(*pairs, classes=5), 0.125, seed=0)
    counts = held.label_counts().values()
    assert max(counts) <= 2
    assert sum(counts) >= 8
    for labels, share in (([(0,)] * 9 + [(1,)] * 2, 0.1), ([(0,)] * 900, 0.0)):
        assert not len(hold_back(index_of(*labels), share, seed=0)[1])
