"""Files of a finished run that are cut off, emptied or zeroed: each is made again as it was, or named in a message.

Never a traceback, and never a result that differs.
"""

import shutil
from collections.abc import Callable

import pytest

from inference.bulk import predict_images
from inference.output_folder import PREDICTIONS
from tests.inference.stub import Stub, save
from tests.project import made_once
from tests.test_fault_injection import run_undisturbed, same_as, start

pytestmark = pytest.mark.long

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
    "zeroed": lambda content: content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
}


FILES = {
    "run/seeds/train_0001.npz": "cut",
    "run/seeds/train_0002.npz": "emptied",
    "run/seeds/train_0003.npz": "zeroed",
    "run/seeds/.fingerprint": "emptied",
    "run/seeds_walk/train_0002.npz": "zeroed",
    "run/pseudo/train_0003.png": "cut",
    "run/ablation/given/cam/val_0001.npz": "emptied",
    "run/ablation_steps/given/walk/val_0001.npz": "cut",
    "run/predictions/given/val_0001.png": "cut",
    "run/report.json": "emptied",
    "run/report_images.json": "cut",
    "run/run.json": "cut",
    "run/config.yaml": "cut",
    "run/.lock": "cut",
    "best_model.pth": "emptied",
    "data/shapes/shapes.json": "cut",
}
NETWORKS = {
    "run/classifier.pth": "cut",
    "run/segmenter.pth": "cut",
    "run/affinity.pth": "zeroed",
    "run/confident/train_0001.png": "zeroed",
}


@pytest.mark.parametrize("damages", [FILES, NETWORKS], ids=["files", "networks"])
def test_a_damaged_run_is_made_again_as_it_was(tmp_path_factory, tmp_path, damages):
    finished = made_once(tmp_path_factory, "undisturbed", run_undisturbed)
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (tmp_path / "output.txt").unlink()
    for path, damage in damages.items():
        (tmp_path / path).write_bytes(DAMAGES[damage]((tmp_path / path).read_bytes()))
    again = start(tmp_path)
    again.join()
    said = (tmp_path / "output.txt").read_text()
    assert (again.exitcode, "Traceback" in said) == (0, False), said
    same_as(finished, tmp_path)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_output_of_inference_is_made_again(tmp_path, damage):
    for number in range(6):
        save(tmp_path / f"in/p{number}.png", (20, 30), 0)
    predict_images(tmp_path / "in", tmp_path / "out", Stub())
    files = ("masks/p0.png", "overlays/p1.jpg", ".done/p3.json", "classes.json", PREDICTIONS)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in files}
    for name in files:
        (tmp_path / "out" / name).write_bytes(DAMAGES[damage](before[name]))
    summary = predict_images(tmp_path / "in", tmp_path / "out", Stub())
    assert (summary.new, summary.kept) == (3, 3)
    for name in files:
        assert (tmp_path / "out" / name).read_bytes() == before[name], name
