"""The archive that the VOC server takes."""

import tarfile
from pathlib import Path

import torch

from data.artifacts import read_mask
from data.voc import VOC_CLASSES
from models.segmenter import build_segmenter
from stages.config import load_config
from stages.networks import save_network
from tests.inference.stub import QUICK
from tests.project import call


class TestVocServer:
    def checkpoint(self, folder: Path, class_names: tuple[str, ...]) -> Path:
        cfg = load_config(None, overrides=[*QUICK, "segment.scales=[1.0]", "device=cpu", "workers=0"])
        torch.manual_seed(0)
        network = build_segmenter("efficientnet_lite0", len(class_names) + 1, "none", cfg.segmenter.stage)
        torch.nn.init.normal_(network.head[-1].weight)  # else one class wins everywhere
        save_network(folder / "net.pth", "segmenter", network, class_names, cfg, {})
        return folder / "net.pth"

    def test_images_without_labels_or_truth_become_an_archive(self, make_voc, tmp_path):
        root = make_voc(count=6, classes=VOC_CLASSES, labels="none")
        (root / "ImageSets/Segmentation/val.txt").rename(root / "ImageSets/Segmentation/test.txt")
        for path in (root / "SegmentationClass").glob("*.png"):
            path.unlink()
        network = self.checkpoint(tmp_path, VOC_CLASSES)
        arguments = (network, "--output", tmp_path / "server", "--set", f"data.root={root}")
        ended = call("exports.voc_server", *arguments)
        assert ended.code == 0, ended.err
        with tarfile.open(tmp_path / "server/voc_server.tgz", "r:gz") as archive:
            names = archive.getnames()
        assert names == [f"results/VOC2012/Segmentation/comp6_test_cls/p{number}.png" for number in (2, 5)]
        assert sorted(path.name for path in (tmp_path / "server").iterdir()) == ["predicted", "voc_server.tgz"]
        assert read_mask(tmp_path / "server/predicted/p5.png").shape == (40, 30)
