"""The archive that the VOC server takes."""

import shutil
import tarfile

import torch

from data.artifacts import read_mask
from data.voc import VOC_CLASSES
from models.segmenter import build_segmenter
from stages.config import load_config
from stages.networks import save_network
from tests.inference.stub import QUICK
from tests.project import call


def test_images_without_labels_or_truth_become_an_archive(make_voc, tmp_path, tiny_backbone):
    root = make_voc(count=6, classes=VOC_CLASSES, labels="none")
    (root / "ImageSets/Segmentation/val.txt").rename(root / "ImageSets/Segmentation/test.txt")
    shutil.rmtree(root / "SegmentationClass")
    settings = [f"model.backbone={tiny_backbone}", "segment.scales=[1.0]", "device=cpu", "workers=0"]
    cfg = load_config(None, overrides=[*QUICK, *settings])
    torch.manual_seed(0)
    network = build_segmenter(tiny_backbone, len(VOC_CLASSES) + 1, "none", cfg.segmenter.stage)
    torch.nn.init.normal_(network.head[-1].weight)  # else one class wins everywhere
    save_network(tmp_path / "net.pth", "segmenter", network, VOC_CLASSES, cfg, {})
    server = tmp_path / "server"
    call("exports.voc_server", tmp_path / "net.pth", "--output", server, "--set", f"data.root={root}").well()
    with tarfile.open(server / "voc_server.tgz", "r:gz") as archive:
        names = archive.getnames()
    assert names == [f"results/VOC2012/Segmentation/comp6_test_cls/p{number}.png" for number in (2, 5)]
    assert sorted(path.name for path in server.glob("[!.]*")) == ["predicted", "voc_server.tgz"]
    assert read_mask(server / "predicted/p5.png").shape == (40, 30)
