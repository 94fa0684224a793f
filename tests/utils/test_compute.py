"""The device that settings ask for, and what it makes of tensors."""

import threading

import pytest
import torch

import utils.compute
from tests.project import refused
from utils.compute import Compute, choose_compute, reading_compute
from utils.settings import RunSettings

CPU = torch.device("cpu")


def test_the_device_is_that_of_the_settings_and_auto_the_fastest_precision(monkeypatch):
    def choose(**settings: str) -> Compute:
        return choose_compute(RunSettings(**settings))

    assert choose(device="cpu", precision="bf16").precision == "bf16"
    assert choose(device="auto").device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    refused("device 'cuda:99' is not available here", choose, device="cuda:99")
    for fastest, reading in (("off", "off"), ("bf16", "bf16"), ("fp16", "off")):
        monkeypatch.setattr(utils.compute, "fastest_precision", lambda device, found=fastest: found)
        chosen = choose_compute(RunSettings(device="cpu", precision="auto"))
        assert chosen == Compute(CPU, fastest, is_fastest=True)
        assert reading_compute(RunSettings(device="cpu", read_precision="auto")).precision == reading
        assert reading_compute(RunSettings(device="cpu", precision="auto", read_precision="off")).precision == "off"


def test_images_take_the_memory_format():
    image = torch.rand(2, 3, 4, 5)
    for layout in (torch.channels_last, torch.contiguous_format):
        compute = Compute(CPU, channels_last=layout == torch.channels_last)
        assert compute.image(image).is_contiguous(memory_format=layout)
    for precision, dtype in (("off", torch.float32), ("bf16", torch.bfloat16)):
        with Compute(CPU, precision).autocast():
            assert (image[0, 0] @ image[0, 0].T).dtype == dtype


@pytest.mark.parametrize(("threads", "lanes", "own"), [(1, 1, 1), (2, 2, 1), (9, 2, 4)])
def test_each_item_has_cores_of_its_own(threads, lanes, own, monkeypatch):
    monkeypatch.setattr(utils.compute, "cores", lambda: threads)
    compute, together = Compute(CPU), threading.Barrier(lanes)
    before = torch.get_num_threads()

    def square(value: int) -> tuple[int, int]:
        together.wait(timeout=20)  # as many as there are cores are here at a time
        return value * value, torch.get_num_threads()

    assert list(compute.each(square, range(12))) == [(value * value, own) for value in range(12)]
    monkeypatch.undo()
    torch.set_num_threads(before)
