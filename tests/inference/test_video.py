"""Video: frames, rate and size are kept, masks lie over the frames, and it is whole, kept or begun anew."""

import subprocess
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from data.pixels import LIMIT
from inference.bulk import predict_images
from inference.video import predict_video, video_names
from tests.inference.stub import Stub
from utils.errors import UserError

FRAMES, RATE = 7, 12


@pytest.fixture
def clip(tmp_path) -> Path:
    """Seven frames, 66 x 48, a grey that grows; the stub finds a class by the red value, which stays below 3."""
    path = tmp_path / "a clip.mp4"
    with imageio.get_writer(path, format="FFMPEG", fps=RATE, macro_block_size=1, quality=9) as writer:
        for number in range(FRAMES):
            frame = np.zeros((48, 66, 3), np.uint8)
            frame[..., 1:] = 60 + 20 * number
            writer.append_data(frame)
    return path


class Red(Stub):
    """Codecs shift colours a little, so the class is always the second."""

    def predict(self, image, classes=None):
        return super().predict(image, [1])


def read(path: Path) -> tuple[list[np.ndarray], dict]:
    with imageio.get_reader(path, format="FFMPEG") as reader:
        return [np.asarray(frame) for frame in reader], reader.get_meta_data()


def test_frames_rate_and_size_stay_and_masks_lie_over_them(clip, tmp_path):
    summary = predict_video(clip, tmp_path / "out", Red(), batch=3)
    assert summary.path == tmp_path / "out/videos/a clip.mp4"
    assert (summary.frames, summary.classes) == (FRAMES, [("dog", FRAMES)])
    frames, about = read(summary.path)
    assert (len(frames), about["fps"], about["size"]) == (FRAMES, RATE, (66, 48))
    for frame, before in zip(frames, read(clip)[0], strict=True):
        change = np.abs(frame.astype(int) - before).mean(axis=(1, 2))
        assert change[:20].min() > 10  # the stub's mask is the upper half
        assert change[30:].max() < 6


def test_a_video_is_no_mask_of_an_image_of_another_input(clip, tmp_path):
    predict_video(clip, tmp_path / "out", Red())
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(tmp_path / name / f"{name}.png")
    assert [predict_images(tmp_path / name, tmp_path / "out", Red()).others for name in ("one", "two")] == [0, 1]


def test_a_video_that_is_turned_is_upright_and_nothing_is_said_of_its_size(clip, tmp_path, caplog):
    turned = tmp_path / "turned.mp4"
    command = [get_ffmpeg_exe(), "-v", "error", "-display_rotation", "90", "-i", clip, "-c", "copy", turned]
    subprocess.run(command, check=True)
    frames, about = read(predict_video(turned, tmp_path / "out", Red()).path)
    assert (len(frames), about["size"], caplog.text) == (FRAMES, (48, 66), "")


def test_an_odd_size_gets_a_line_more(tmp_path):
    path, of_odd_size = tmp_path / "odd.avi", {"codec": "ffv1", "pixelformat": "rgb24", "macro_block_size": 1}
    with imageio.get_writer(path, format="FFMPEG", fps=5, **of_odd_size) as writer:
        writer.append_data(np.full((33, 47, 3), 90, np.uint8))
    assert read(predict_video(path, tmp_path / "out", Red()).path)[0][0].shape == (34, 48, 3)


def test_a_stopped_video_leaves_no_half_and_what_is_done_is_kept(clip, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        predict_video(clip, tmp_path / "out", Red(fails_at=3))
    assert list((tmp_path / "out/videos").iterdir()) == []
    assert predict_video(clip, tmp_path / "out", Red(), limit=2).frames == 2
    assert predict_video(clip, tmp_path / "out", Red()).frames == FRAMES
    stub = Red()
    again = predict_video(clip, tmp_path / "out", stub)
    assert (again.frames, again.seconds, again.classes) == (FRAMES, 0.0, [("dog", FRAMES)])
    assert stub.asked == []
    assert predict_video(clip, tmp_path / "out", Red(settings={"threshold": 0.4})).seconds > 0
    monkeypatch.setenv(LIMIT, str(66 * 48 - 1))
    with pytest.raises(UserError, match=r"a clip\.mp4: a frame is of 66 x 48 pixels, above data.max_pixels"):
        predict_video(clip, tmp_path / "other", Red())


def test_videos_of_one_name_do_not_overwrite_each_other():
    assert video_names([Path("a/x.mp4"), Path("b/X.avi"), Path("y.mp4")]) == ["x", "X (2)", "y"]
    assert len({name.casefold() for name in video_names([Path("x.mp4"), Path("x.avi"), Path("x (2).mp4")])}) == 3
