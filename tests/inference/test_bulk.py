"""Many images: batches, tiles and killed calls change nothing in what is written; memory holds a few images."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inference.bulk
from data.artifacts import read_mask, write_mask
from inference.bulk import Options, predict_images
from inference.loading import load_predictor
from inference.predictor import Predictor
from tests.inference.stub import MANY, Stub, predictions, save, times
from utils.errors import UserError

ONCE = ["pseudo.refine=none", "segment.scales=[1.0]", "segment.flip=false"]


def masks(output: Path) -> dict[str, bytes]:
    """All masks, without what a killed process was writing, which infer.py removes before it begins."""
    return {path.name: path.read_bytes() for path in (output / "masks").rglob("[!.]*.png")}


def test_batches_change_nothing(checkpoints, tmp_path):
    for number, size in enumerate([(20, 30), (20, 30), (24, 16), (20, 30), (17, 45), (24, 16), (24, 16)]):
        save(tmp_path / f"in/{number}.png", size)
    (tmp_path / "in/2b.png").write_text("no image")
    (tmp_path / "labels.csv").write_text("image,labels\n1,Cat;dog\n6,\n")
    predictor = load_predictor(checkpoints["segmenter"], ["pseudo.refine=none"])
    for batch in (1, 3, 16):
        options = Options(tmp_path / "labels.csv", batch=batch)
        summary = predict_images(tmp_path / "in", tmp_path / f"out{batch}", predictor, options)
        assert (summary.new, len(summary.unreadable)) == (7, 1)
        for name in masks(tmp_path / "out1"):
            one, many = (read_mask(tmp_path / f"out{b}/masks/{name}") for b in (1, batch))
            assert (one != many).mean() < 0.01  # sums in another order
        found = [row["image"] for row in predictions(tmp_path / f"out{batch}")["images"]]
        assert found == [f"{number}.png" for number in range(7)]
    assert set(np.unique(read_mask(tmp_path / "out3/masks/1.png"))) <= {0, 1, 2}
    assert not read_mask(tmp_path / "out3/masks/6.png").any()


def shapes_seen(predictor: Predictor) -> list[tuple[int, ...]]:
    """The shapes of all batches that its network gets from now on."""
    seen = []
    predictor.network.register_forward_pre_hook(lambda network, inputs: seen.append(tuple(inputs[0].shape)))
    return seen


def test_images_of_one_size_pass_together_and_only_those_longer_than_a_tile_are_tiled(checkpoints):
    predictor, whole = (load_predictor(checkpoints["segmenter"], ONCE, tile=tile) for tile in (64, 0))
    random = np.random.default_rng(0)
    small, large = (random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((64, 50), (100, 150)))
    assert np.array_equal(predictor.predict(small).mask, whole.predict(small).mask)
    seen, seen_whole = shapes_seen(predictor), shapes_seen(whole)
    whole.predict_many([np.zeros((*size, 3), np.uint8) for size in ((40, 60), (64, 64), (40, 60), (40, 60))])
    assert seen_whole == [(3, 3, 40, 60), (1, 3, 64, 64)]
    found = predictor.predict_many([small, large], [None, [0, 2]])[1]
    assert seen == [(1, 3, 64, 64)] * 6 + [(1, 3, 64, 50)]
    assert (found.mask.shape, found.classes, found.maps.shape) == ((100, 150), (0, 2), (2, 25, 38))
    assert set(np.unique(found.mask)) <= {0, 1, 2}
    assert predictor.settings != whole.settings


def test_few_images_are_in_memory_at_once(tmp_path, monkeypatch):
    for number in range(30):
        save(tmp_path / f"in/{number:02}.png", (20, 30), 0)
    alive, counts = [], []

    def read(job, original=inference.bulk._read):
        alive.append(job)
        counts.append(len(alive))
        return original(job)

    def finish(*args, original=inference.bulk._Work._finish):
        time.sleep(0.01)  # a slow disk
        original(*args)
        alive.pop()

    monkeypatch.setattr(inference.bulk, "_read", read)
    monkeypatch.setattr(inference.bulk._Work, "_finish", finish)
    predict_images(tmp_path / "in", tmp_path / "out", Stub())
    assert not alive
    assert 2 <= max(counts) <= 7


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three images, done."""
    for red in range(3):
        save(tmp_path / "in" / f"p{red}.png", (20, 30), red)
    predict_images(tmp_path / "in", tmp_path / "out", Stub())
    return tmp_path


class TestResume:
    def test_nothing_is_done_the_second_time_and_then_only_what_has_changed(self, folder):
        before = times(folder / "out")
        summary = predict_images(folder / "in", folder / "out", Stub())
        assert (summary.new, summary.kept, times(folder / "out")) == (0, 3, before)
        save(folder / "in/p1.png", (22, 30), 2)
        (folder / "out/masks/p2.png").unlink()
        summary = predict_images(folder / "in", folder / "out", Stub())
        assert (summary.new, summary.kept) == (2, 1)
        assert predictions(folder / "out")["images"][1]["height"] == 22
        (folder / "in/p0.png").unlink()
        summary = predict_images(folder / "in", folder / "out", Stub())
        assert (summary.new, summary.kept, summary.others) == (0, 2, 1)
        assert len(predictions(folder / "out")["images"]) == 2

    def test_another_network_or_setting_redoes_all_and_a_new_label_its_image(self, folder):
        settings, about = {"threshold": 0.4}, Stub().about | {"weights": "v"}
        for other in (Stub(("a", "b", "c")), Stub(), Stub(settings=settings), Stub(settings=settings, about=about)):
            assert predict_images(folder / "in", folder / "out", other).new == 3  # one thing is other than before
        (folder / "labels.csv").write_text("image,labels\np1,train\n")
        stub = Stub(settings=settings, about=about)
        assert predict_images(folder / "in", folder / "out", stub, Options(folder / "labels.csv")).new == 1
        assert stub.asked == [[2]]

    def test_other_code_redoes_all(self, folder, monkeypatch):
        monkeypatch.setattr("inference.output_folder.symbols_of", lambda root: {"inference.segmenter": "changed"})
        assert [predict_images(folder / "in", folder / "out", Stub()).new for _ in range(2)] == [3, 0]

    def test_the_second_time_nothing_is_done(self, infer_on, images, tmp_path):
        infer_on("segmenter", images)
        before = times(tmp_path / "out")
        assert "0 images predicted, 3 done already" in infer_on("segmenter", images).well().out
        assert times(tmp_path / "out") == before

    def test_an_image_that_looks_unchanged_is_redone_and_shown(self, folder):
        pages, path = [], folder / "in/p1.png"
        for colour in ((1, 0, 0), (1, 0, 255)):  # of one size, time and result
            Image.new("RGB", (30, 20), colour).save(path.with_suffix(".bmp"))
            path.with_suffix(".bmp").replace(path)
            os.utime(path, ns=(0, 0))
            assert predict_images(folder / "in", folder / "out", Stub(), Options(batch=3)).new == 1
            pages.append((folder / "out/index.html").read_text())
        assert pages[0] != pages[1]

    @pytest.mark.parametrize("killed", [False, True])
    def test_after_an_interrupt_or_a_kill_the_files_are_as_in_one_call(self, tmp_path, killed):
        for place, red in enumerate((7, 90, 7, 250, 3, 8)):
            save(tmp_path / "in" / f"p{place}.png", (20, 30), red)
        predict_images(tmp_path / "in", tmp_path / "whole", Stub(MANY))
        stopped = tmp_path / "in", tmp_path / "parts", Stub(MANY, fails_at=4, killed=killed)
        if killed:
            process = multiprocessing.get_context("fork").Process(target=predict_images, args=stopped)
            process.start()
            process.join()
            assert process.exitcode == -signal.SIGKILL
        else:
            with pytest.raises(KeyboardInterrupt):
                predict_images(*stopped)
        done = [path.stem for path in (tmp_path / "parts/.done").glob("[!.]*.json")]
        before = {name: (tmp_path / f"parts/masks/{name}.png").stat().st_mtime_ns for name in done}
        assert 1 <= len(done) <= 4 if killed else len(done) == 4
        summary = predict_images(tmp_path / "in", tmp_path / "parts", Stub(MANY))
        assert (summary.kept, summary.new) == (len(done), 6 - len(done))
        assert all((tmp_path / f"parts/masks/{name}.png").stat().st_mtime_ns == when for name, when in before.items())
        assert masks(tmp_path / "whole") == masks(tmp_path / "parts")
        assert predictions(tmp_path / "whole")["images"] == predictions(tmp_path / "parts")["images"]

    def test_a_mask_that_a_person_has_changed_is_kept_or_the_call_refused(self, folder):
        mask, other = folder / "out/masks/p1.png", Stub(settings={"threshold": 0.4})
        write_mask(mask, np.full((20, 30), 2, np.uint8))
        corrected = mask.read_bytes()
        assert predict_images(folder / "in", folder / "out", Stub()).new == 0
        refused = r"were changed after infer.py had written them .*: 1, first .*p1.png; give"
        with pytest.raises(UserError, match=refused):
            predict_images(folder / "in", folder / "out", other)
        assert mask.read_bytes() == corrected
        note = folder / "out/.done/p1.json"
        older = {name: value for name, value in json.loads(note.read_text()).items() if name not in ("mask", "source")}
        note.write_text(json.dumps(older))
        os.utime(note, (mask.stat().st_mtime - 9,) * 2)
        with pytest.raises(UserError, match=refused):
            predict_images(folder / "in", folder / "out", other)
        mask.write_bytes(corrected[:20])  # damaged: nobody's work
        assert predict_images(folder / "in", folder / "out", other).new == 3

    def test_images_of_one_name_from_two_calls_do_not_replace_each_other(self, folder):
        save(folder / "other/p1.png", (20, 30), 9)
        with pytest.raises(UserError, match=r"masks of other images with the same names .*: 1, first .*in/p1.png"):
            predict_images(folder / "other", folder / "out", Stub())
        (folder / "in").rename(folder / "moved")  # these are the same images
        assert predict_images(folder / "moved", folder / "out", Stub(settings={"threshold": 0.4})).new == 3


def test_names_of_any_bytes_are_taken(tmp_path):
    path = tmp_path / "in" / os.fsdecode(b"caf\xe9.png")
    try:
        save(path, (20, 30), 0)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    predict_images(tmp_path / "in", tmp_path / "out", Stub())
    assert len(predictions(tmp_path / "out")["images"]) == 1
