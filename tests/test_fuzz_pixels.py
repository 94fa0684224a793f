"""As test_fuzz.py: images, masks, seeds and weights."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from PIL import Image

from data.artifacts import Seed, read_mask, read_seed, write_seed
from data.images import read_image
from models.weights import read_weights
from stages.config import load_config
from stages.describe import describe
from stages.networks import load_network, save_network
from tests import mutations
from tests.models.tiny import tiny_classifier
from tests.mutations import FUZZED, VALUES, changed_bytes, changed_document, fuzz, put, tried
from utils.checkpoint import load_checkpoint

NAMES = ("cat", "dog", "train")

pytestmark, bounded = FUZZED, mutations.bounded


TURNED = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def images(*modes: str, formats: tuple[str, ...]) -> list[bytes]:
    files = []
    pixels = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
    for mode in modes:
        for name in formats:
            file = io.BytesIO()
            exif = {"exif": TURNED} if name == "JPEG" else {}
            Image.fromarray(pixels).convert(mode).save(file, format=name, **exif)
            files.append(file.getvalue())
    return files


def with_checksums(content: bytes) -> bytes:
    """A PNG whose chunks' checksums are right again, so that what was changed gets as far as the decoder."""
    place, fixed = 8, bytearray(content)
    while place + 8 <= len(fixed):
        end = place + 8 + int.from_bytes(fixed[place : place + 4], "big")
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(bytes(fixed[place + 4 : end])))
        place = end + 4
    return bytes(fixed)


@pytest.mark.parametrize(
    ("read", "contents"),
    [
        (read_image, images("RGB", "L", "P", "RGBA", "1", formats=("PNG",))),
        (read_image, images("RGB", "L", "CMYK", formats=("JPEG",))),
        (lambda path: read_image(path, 4), images("RGB", "L", "CMYK", formats=("JPEG",))),
        (read_image, images("RGB", "P", formats=("GIF", "TIFF", "BMP", "WEBP"))),
        (read_image, images("RGB", formats=("PPM", "JPEG2000"))),
        (read_mask, images("P", "L", "1", formats=("PNG",))),
    ],
    ids=["png", "jpeg", "draft", "other", "more", "mask"],
)
@fuzz(st.data(), st.booleans())
def test_images_and_masks(tmp_path, read, contents, data, fixed):
    content = data.draw(changed_bytes(contents))
    path = put(tmp_path / "in/input", with_checksums(content) if fixed and content[1:4] == b"PNG" else content)
    tried(lambda: read(path))


ARRAYS = st.builds(
    lambda shape, kind: np.zeros(shape, kind),
    st.lists(st.sampled_from([0, 1, 2, 3, 13]), max_size=4).map(tuple),
    st.sampled_from(["u1", "i8", "f4", "f8", "?", "U3", "S2", "M8[s]", "u1,i4", "c8"]),
) | st.lists(st.integers(-(2**40), 2**62) | st.sampled_from([0, 1, 9, 13, 35, 50]), max_size=3).map(np.array)


@fuzz(st.data())
def test_seeds(tmp_path, data):
    path = tmp_path / "in/a.npz"
    write_seed(path, Seed(np.array([0, 2]), np.random.default_rng(0).random((2, 3, 4)), (10, 14)))
    if data.draw(st.booleans()):
        put(path, data.draw(changed_bytes([path.read_bytes()])))
    else:
        arrays = {"classes": np.array([0]), "maps": np.zeros((1, 9, 13), np.uint8), "size": np.array([35, 50])}
        arrays |= data.draw(st.dictionaries(st.sampled_from([*arrays, "other"]), ARRAYS, min_size=1, max_size=2))
        np.savez_compressed(path, **arrays)
    tried(lambda: read_seed(path))


TENSORS = (
    VALUES
    | st.sampled_from(["tiny", "resnet50", "timm/hf-hub:a/b"])
    | st.builds(torch.zeros, st.sampled_from([(), (1,), (2, 3), (0,)]))
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, tiny_backbone) -> tuple[bytes, dict[str, Any]]:
    """A checkpoint of a network of a few hundred weights, as bytes and as what it holds."""
    path = tmp_path_factory.mktemp("checkpoint") / "a.pth"
    cfg = load_config(None, overrides=[f"model.backbone={tiny_backbone}"])
    save_network(path, "classifier", tiny_classifier(3), NAMES, cfg, {"loss": 0.5})
    return path.read_bytes(), torch.load(path, weights_only=True)


@fuzz(st.data())
def test_checkpoints(tmp_path, checkpoint, data):
    content, values = checkpoint
    if data.draw(st.booleans()):
        content = data.draw(changed_bytes([content]))
    else:
        file = io.BytesIO()
        torch.save(data.draw(changed_document(values, TENSORS)), file)
        content = file.getvalue()
    path = put(tmp_path / "in/a.pth", content)
    for read in (load_checkpoint, describe, read_weights, load_network):
        tried(lambda read=read: read(path))
