"""PASCAL VOC 2012 and the lists of SBD (Semantic Boundaries Dataset) from their publishers: `data.download=true`.

By torchvision's downloader, with its addresses and checksums. Archives are kept; one put there by hand is used.
"""

import logging
import os
import shutil
import tarfile
from pathlib import Path

from filelock import FileLock
from torchvision.datasets import SBDataset
from torchvision.datasets.utils import check_integrity, download_url, extract_archive
from torchvision.datasets.voc import DATASET_YEAR_DICT

from data.voc import SBD_LISTS, find_list, find_sbd_lists
from utils.errors import UserError
from utils.files import write_text

logger = logging.getLogger(__name__)

VOC_FOLDER = Path("VOCdevkit/VOC2012")  # in VOC's archive


def download(kind: str, root: str | Path, list_name: str) -> None:
    """Fetch what is missing of VOC 2012, and SBD's lists for `train_aug`; else a `UserError` says what to put where."""
    if kind != "voc":
        remedy = "set data.download=false and put the data at data.root (COCO: https://cocodataset.org/#download)"
        raise UserError(f"data.download fetches PASCAL VOC 2012 only, and data.kind is {kind}; {remedy}")
    root = Path(root)
    if (root / "JPEGImages").is_dir() and not _needs_sbd(root, list_name):
        return
    base = root.absolute().parent.parent
    try:
        base.mkdir(parents=True, exist_ok=True)
        with FileLock(base / ".download.lock"):  # several processes may ask at once: one fetches and the others wait
            if not (root / "JPEGImages").is_dir():
                _fetch_voc(root, base)
            if _needs_sbd(root, list_name):
                _fetch_sbd_lists(root, base)
    except OSError as error:
        raise UserError(f"data.download cannot write to {base}: {error}; choose another data.root") from error


def _needs_sbd(root: Path, list_name: str) -> bool:
    return list_name == "train_aug" and find_list(root, list_name) is None and find_sbd_lists(root) is None


def _fetch_voc(root: Path, base: Path) -> None:
    if root.absolute() != base / VOC_FOLDER:
        remedy = f"data.root must end in it to be downloaded, such as data/{VOC_FOLDER}"
        raise UserError(f"data.root {root}: VOC's archive unpacks into {VOC_FOLDER}, so {remedy}")
    if root.exists():
        raise UserError(f"data.root {root} is there but has no JPEGImages; move it away to have VOC 2012 put there")
    source = DATASET_YEAR_DICT["2012"]
    archive = _fetch(source["url"], base / source["filename"], source["md5"])
    scratch = base / ".VOC2012.tmp"  # unpacked beside and moved, so that half of it is never taken for all
    shutil.rmtree(scratch, ignore_errors=True)
    logger.warning("unpacking %s", archive)
    extract_archive(str(archive), str(scratch))
    root.parent.mkdir(parents=True, exist_ok=True)
    os.replace(scratch / VOC_FOLDER, root)
    shutil.rmtree(scratch)


def _fetch_sbd_lists(root: Path, base: Path) -> None:
    archive = _fetch(SBDataset.url, base / SBDataset.filename, SBDataset.md5)
    with tarfile.open(archive) as tar:
        for name in ("train.txt", "val.txt"):
            file = tar.extractfile(f"{SBD_LISTS[1]}/{name}")
            assert file is not None  # the archive's checksum is right
            write_text(root / SBD_LISTS[0] / name, file.read().decode())


def _fetch(url: str, path: Path, md5: str) -> Path:
    if check_integrity(str(path), md5):
        return path
    logger.warning("downloading %s to %s", url, path)
    try:
        download_url(url, str(path.parent), path.name, md5)
    except (OSError, RuntimeError) as error:  # no network is an OSError, a wrong checksum a RuntimeError
        remedy = f"fetch it with a browser, put it at {path} (MD5 {md5}), and give the same command again"
        raise UserError(f"{url} cannot be downloaded ({error}); {remedy}") from error
    return path
