import functools
import hashlib
import http.server
import shutil
import threading
from pathlib import Path

import pytest

import models  # noqa: F401  torchvision cannot be imported before it beside a torch for CPUs alone

import data.download  # isort: skip
from data.download import download
from data.index import open_index
from data.settings import DataSettings
from tests.project import refused


def pack(folder: Path, archive: Path, kind: str) -> str:
    """The folder as archive; its MD5."""
    path = Path(shutil.make_archive(str(archive), kind, folder.parent, folder.name))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def archives(make_voc, tmp_path, monkeypatch):
    """A folder of small archives in the layout of the real ones, served where torchvision looks for them."""
    inside = make_voc(6, labels="xml", classes=("cat", "dog", "train"), folder="voc_archive/VOCdevkit/VOC2012")
    sbd = tmp_path / "sbd_archive" / "benchmark_RELEASE" / "dataset"
    sbd.mkdir(parents=True)
    (sbd / "train.txt").write_text("p2\np3\n")
    (sbd / "val.txt").write_text("p4\n")
    served = tmp_path / "served"
    voc = {"filename": "voc.tar", "md5": pack(inside.parent, served / "voc", "tar")}
    monkeypatch.setattr(data.download.SBDataset, "filename", "sbd.tar.gz")
    monkeypatch.setattr(data.download.SBDataset, "md5", pack(sbd.parent, served / "sbd", "gztar"))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{running.server_port}"
        monkeypatch.setitem(data.download.DATASET_YEAR_DICT, "2012", voc | {"url": f"{address}/voc.tar"})
        monkeypatch.setattr(data.download.SBDataset, "url", f"{address}/sbd.tar.gz")
        yield served
        running.shutdown()


def settings(root: Path) -> DataSettings:
    return DataSettings(root=str(root), download=True, classes=("cat", "dog", "train"))


def test_voc_and_the_augmented_list_are_fetched_once(archives, tmp_path):
    root = tmp_path / "new/VOCdevkit/VOC2012"
    assert [record.name for record in open_index(settings(root), "train").records] == ["p0", "p1", "p3", "p4"]
    assert not (tmp_path / "new/sbd.tar.gz").exists()  # 1.4 GB that this list does not need
    assert [record.name for record in open_index(settings(root), "train_aug").records] == ["p0", "p1", "p3", "p4"]
    assert (root / "ImageSets/SBD/val.txt").read_text() == "p4\n"
    for folder in (archives, tmp_path / "new"):
        for archive in ("voc.tar", "sbd.tar.gz"):
            (folder / archive).unlink()
    assert len(open_index(settings(root), "train_aug")) == 4
    assert not list(root.parents[1].glob(".VOC2012*"))


def test_damaged_or_missing_archives_are_named_and_those_put_there_by_hand_used(archives, tmp_path):
    root, whole = tmp_path / "new/VOCdevkit/VOC2012", (archives / "voc.tar").read_bytes()
    (archives / "voc.tar").write_bytes(b"not what the checksum says")
    refused(r"cannot be downloaded \(.*corrupted.*MD5", download, "voc", root, "train")
    for name in ("voc.tar", "sbd.tar.gz"):
        (archives / name).unlink()
    refused(r"voc\.tar cannot be downloaded .*at .*new/voc\.tar \(MD5 [0-9a-f]{32}\)", download, "voc", root, "train")
    assert not root.exists()
    (tmp_path / "new/voc.tar").write_bytes(whole)
    download("voc", root, "train")
    assert (root / "JPEGImages/p0.jpg").is_file()
    refused(r"sbd\.tar\.gz cannot be downloaded", download, "voc", root, "train_aug")


def test_what_is_no_voc_is_refused(tmp_path):
    refused(r"data\.root must end in it", download, "voc", tmp_path / "my/voc", "train")
    (tmp_path / "VOCdevkit/VOC2012").mkdir(parents=True)
    refused("is there but has no JPEGImages; move it away", download, "voc", tmp_path / "VOCdevkit/VOC2012", "train")
