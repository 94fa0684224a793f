"""What is stated with figures, comparisons of two sources, means of several runs, and the server's archive."""

import csv
import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import evaluate
from data.artifacts import Seed, read_mask, seed_size, write_mask, write_seed
from data.voc import VOC_CLASSES
from exports import voc_server
from measuring import gather
from models.segmenter import build_segmenter
from stages.networks import save_network
from utils.config_file import load_config
from utils.errors import UserError, run_script

NAMES = ("cat", "dog", "train")


@pytest.fixture
def call(monkeypatch, capsys) -> Callable[..., tuple[int, str]]:
    """Run a module's `main` with arguments -> (exit code, what it printed)."""

    def run(module, *arguments) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
        code = run_script(module.main)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


@pytest.fixture
def data(make_voc, tmp_path) -> list[str]:
    """Thirty pictures, ten of them `val`; a folder `good` of masks with few errors and `bad` with many, `seeds` of the truth.

    Returns:
        Arguments that let evaluate.py find them.
    """
    root = make_voc(count=30)
    random = np.random.default_rng(0)
    for path in sorted((root / "SegmentationClass").glob("*.png")):
        truth = read_mask(path)
        for folder, error in (("good", 0.05), ("bad", 0.25), ("same", 0.05)):
            said = np.where(random.random(truth.shape) < error, random.integers(4, size=truth.shape), truth)
            write_mask(tmp_path / folder / path.name, said)
        cells = truth[2::4, 2::4]  # the middle of each cell of 4 by 4
        maps = np.zeros((3, *seed_size(*truth.shape)), np.float32)
        maps[:, : cells.shape[0], : cells.shape[1]] = 0.5 * (cells == np.array([1, 2, 3])[:, None, None])
        write_seed(tmp_path / "seeds" / f"{path.stem}.npz", Seed(np.arange(3), maps, truth.shape))
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        f"workers: 0\ndata: {{kind: voc, root: {root}, train_list: train, val_list: val}}\nreport: {{thresholds: 7}}\n"
    )
    return ["--config", str(settings)]


class TestStated:
    def test_list_and_count_and_what_is_not_known(self, call, data, tmp_path):
        code, printed = call(evaluate, *data, "--masks", tmp_path / "good", "--json", tmp_path / "f.json")
        assert code == 0, printed
        assert "list: val" in printed
        assert "published list: no, the published 'val' has 1,449 pictures, this one 10" in printed
        assert "backbone: not known: the files lie in no run folder" in printed
        assert "(10 pictures)" in printed
        assert json.loads((tmp_path / "f.json").read_text())["evaluated"]["list"] == "val"

    def test_a_run_folder_says_how_its_files_were_made(self, call, data, tmp_path):
        (tmp_path / "pseudo").mkdir()
        for path in (tmp_path / "good").glob("*.png"):
            path.rename(tmp_path / "pseudo" / path.name)
        (tmp_path / "config.yaml").write_text(
            (tmp_path / "settings.yaml").read_text() + "model: {backbone: resnet101}\npseudo: {refine: par}\n"
        )
        (tmp_path / "stages.json").write_text("{}")
        code, printed = call(evaluate, "--masks", tmp_path / "pseudo")
        assert code == 0, printed
        for line in (
            "backbone: resnet101",
            "weights: imagenet",
            "crf: par",
            "scales: [1.0, 0.5, 1.5, 2.0]",
            "affinity: none",
        ):
            assert line in printed

    def test_csv_has_a_line_a_measurement(self, call, data, tmp_path):
        call(evaluate, *data, "--masks", tmp_path / "good", "--csv", tmp_path / "f.csv", "--json", tmp_path / "f.json")
        (row,) = csv.DictReader((tmp_path / "f.csv").open(encoding="utf-8"))
        figures = json.loads((tmp_path / "f.json").read_text())
        assert (float(row["miou"]), row["list"], row["n_images"]) == (figures["miou"], "val", "10")
        assert float(row["iou dog"]) == figures["per_class"]["dog"]["iou"]


class TestCompare:
    def test_a_clear_gain_and_none(self, call, data, tmp_path):
        code, printed = call(
            evaluate, *data, "--compare", tmp_path / "bad", tmp_path / "good", "--json", tmp_path / "c.json"
        )
        assert code == 0, printed
        assert "B is better" in printed
        compared = json.loads((tmp_path / "c.json").read_text())
        row = compared["differences"]["miou"]
        assert row["difference"] == pytest.approx(row["b"] - row["a"])
        assert 0 < row["low"] < row["difference"] < row["high"]
        for side, folder in (("a", "bad"), ("b", "good")):
            call(evaluate, *data, "--masks", tmp_path / folder, "--json", tmp_path / "f.json")
            assert row[side] == pytest.approx(json.loads((tmp_path / "f.json").read_text())["miou"], abs=1e-12)
        _, printed = call(evaluate, *data, "--compare", tmp_path / "good", tmp_path / "bad")
        assert "A is better" in printed
        _, printed = call(evaluate, *data, "--compare", tmp_path / "good", tmp_path / "same")
        assert "no difference can be told on these 10 pictures" in printed

    def test_seeds_are_compared_at_their_best_threshold(self, call, data, tmp_path):
        _, printed = call(
            evaluate, *data, "--compare", tmp_path / "seeds", tmp_path / "bad", "--json", tmp_path / "c.json"
        )
        compared = json.loads((tmp_path / "c.json").read_text())
        call(evaluate, *data, "--seeds", tmp_path / "seeds", "--json", tmp_path / "f.json")
        figures = json.loads((tmp_path / "f.json").read_text())
        assert compared["a"] == {
            "path": str(tmp_path / "seeds"),
            "kind": "seeds",
            "threshold": figures["threshold_best"],
        }
        assert compared["differences"]["miou"]["a"] == pytest.approx(figures["miou_best"], abs=1e-12)
        assert f"seeds at their best threshold {figures['threshold_best']:g}" in printed

    def test_sources_that_are_none(self, call, data, tmp_path):
        (tmp_path / "empty").mkdir()
        for source, expected in (
            ("empty", "neither a mask p2.png nor a seed file p2.npz"),
            ("gone", "no such file or folder"),
        ):
            code, printed = call(evaluate, *data, "--compare", tmp_path / "good", tmp_path / source)
            assert (code, expected in printed) == (2, True), printed
        code, printed = call(evaluate, *data, "--compare", tmp_path / "good", tmp_path / "bad", "--csv", "x.csv")
        assert (code, "--csv" in printed) == (2, True)


class TestGather:
    def files(self, call, data, tmp_path) -> list[Path]:
        paths = []
        for folder in ("good", "same", "bad"):
            paths.append(tmp_path / f"{folder}.json")
            call(evaluate, *data, "--masks", tmp_path / folder, "--json", paths[-1])
        return paths

    def test_mean_and_deviation_of_a_sample(self, call, data, tmp_path):
        paths = self.files(call, data, tmp_path)
        code, printed = call(gather, *paths, "--json", tmp_path / "g.json", "--csv", tmp_path / "g.csv")
        assert code == 0, printed
        values = [json.loads(path.read_text())["miou"] for path in paths]
        row = json.loads((tmp_path / "g.json").read_text())["masks"]
        assert row["figures"]["miou"]["values"] == values
        assert row["figures"]["miou"]["mean"] == pytest.approx(np.mean(values))
        assert row["figures"]["miou"]["deviation"] == pytest.approx(np.std(values, ddof=1))
        assert f"{100 * np.mean(values):.2f} ± {100 * np.std(values, ddof=1):.2f}" in printed
        lines = {line["figure"]: line for line in csv.DictReader((tmp_path / "g.csv").open(encoding="utf-8"))}
        assert float(lines["miou"]["run 3"]) == values[2]
        assert float(lines["iou cat"]["mean"]) == pytest.approx(row["per_class"]["cat"]["mean"])

    def test_what_is_no_repeat_is_refused(self, call, data, tmp_path):
        paths = self.files(call, data, tmp_path)
        call(evaluate, *data, "--masks", tmp_path / "good", "--split", "train", "--json", tmp_path / "other.json")
        (tmp_path / "text.json").write_text("{}")
        for arguments, expected in (
            ([paths[0]], "at least two runs"),
            ([paths[0], tmp_path / "other.json"], "pictures is 10 and 20"),
            ([paths[0], tmp_path / "text.json"], "text.json holds no figures"),
            ([paths[0], tmp_path], "holds no figures"),
            ([paths[0], tmp_path / "gone.json"], "gone.json holds no figures"),
        ):
            code, printed = call(gather, *arguments)
            assert (code, expected in printed) == (2, True), printed

    @pytest.mark.parametrize(
        "changed",
        [{"miou": None}, {"miou": "0.5"}, {"miou_best": [1]}, {"per_class": {"cat": {"iou": "x"}}}, {"per_class": {"cat": {}}},
         {"per_class": 3}, {"n_images": None}, {"evaluated": {"kind": "masks", "list": 3}}, {"evaluated": [1]}],
    )  # fmt: skip
    def test_figures_of_another_type_are_named(self, tmp_path, changed):
        row = {"evaluated": {"kind": "masks"}, "n_images": 3, "miou": 0.5, "miou_best": None, "over_activation": 0.1,
               "under_activation": 0.2, "per_class": {"cat": {"iou": 0.5}, "dog": {"iou": None}}}  # fmt: skip
        for name, content in (("a", row), ("b", row), ("c", row | changed)):
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        assert "0.00" in gather.table(gather.gather([tmp_path / "a.json", tmp_path / "b.json"]))
        with pytest.raises(UserError, match=r"c\.json holds no figures"):
            gather.gather([tmp_path / "a.json", tmp_path / "c.json"])


class TestVocServer:
    def checkpoint(self, folder: Path, class_names: tuple[str, ...]) -> Path:
        cfg = load_config(None, overrides=["model.backbone=efficientnet_lite0", "segment.stage=2", "segment.scales=[1.0]",
                                           "device=cpu", "workers=0"])  # fmt: skip
        torch.manual_seed(0)
        network = build_segmenter("efficientnet_lite0", len(class_names) + 1, "none", cfg.segment.stage)
        torch.nn.init.normal_(network.head[-1].weight)  # else one class wins everywhere
        save_network(folder / "net.pth", "segmenter", network, class_names, cfg, {})
        return folder / "net.pth"

    def test_pictures_without_labels_or_truth_become_an_archive(self, call, make_voc, tmp_path):
        root = make_voc(count=6, classes=VOC_CLASSES, labels="none")
        (root / "ImageSets/Segmentation/val.txt").rename(root / "ImageSets/Segmentation/test.txt")
        for path in (root / "SegmentationClass").glob("*.png"):
            path.unlink()
        network = self.checkpoint(tmp_path, VOC_CLASSES)
        arguments = (network, "--output", tmp_path / "server", "--set", f"data.root={root}")
        code, printed = call(voc_server, *arguments)
        assert code == 0, printed
        with tarfile.open(tmp_path / "server/voc_server.tgz", "r:gz") as archive:
            names = archive.getnames()
        assert names == [f"results/VOC2012/Segmentation/comp6_test_cls/p{number}.png" for number in (2, 5)]
        assert sorted(path.name for path in (tmp_path / "server").iterdir()) == ["predicted", "voc_server.tgz"]
        assert read_mask(tmp_path / "server/predicted/p5.png").shape == (40, 30)

    def test_a_network_of_other_classes_is_refused(self, call, tmp_path):
        code, printed = call(voc_server, self.checkpoint(tmp_path, NAMES), "--output", tmp_path / "server")
        assert (code, "no segmentation network of VOC's 20 classes" in printed) == (2, True)
        assert not (tmp_path / "server").exists()
