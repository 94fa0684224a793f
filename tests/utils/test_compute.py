"""The device that settings ask for, and what it makes of tensors."""

import pytest
import torch

from utils.compute import Compute, choose_compute
from utils.errors import UserError
from utils.settings import RunSettings


def test_the_device_that_the_settings_ask_for():
    def choose(**settings: str) -> Compute:
        return choose_compute(RunSettings(**settings))

    assert choose(device="cpu", precision="bf16").precision == "bf16"
    assert choose(device="auto").device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(UserError, match="fp16 needs a CUDA device"):
        choose(device="cpu", precision="fp16")
    for name in ("cuda:99", "gpu"):
        with pytest.raises(UserError, match=f"device '{name}' is not available here"):
            choose(device=name)


def test_images_take_the_memory_format():
    image = torch.rand(2, 3, 4, 5)
    assert (
        Compute(torch.device("cpu"), channels_last=True).image(image).is_contiguous(memory_format=torch.channels_last)
    )
    assert Compute(torch.device("cpu"), channels_last=False).image(image).is_contiguous()
    with Compute(torch.device("cpu")).autocast():
        assert (image[0, 0] @ image[0, 0].T).dtype == torch.float32
    with Compute(torch.device("cpu"), "bf16").autocast():
        assert (image[0, 0] @ image[0, 0].T).dtype == torch.bfloat16
