import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from data.artifacts import read_mask, voc_palette
from data.mask_values import TruthRule, decode_mask, read_truth, read_with_facts, truth_rule
from tests.project import refused
from utils.errors import UserError

NAMES = ("cat", "dog")
CLASSES = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)
COLOURS = {0: (0, 0, 0), 1: (200, 10, 20), 2: (10, 200, 30), 255: (255, 255, 255)}
BY_COLOUR = {"#000000": "background", "#c80a14": "cat", "#0AC81E": "dog", "#ffffff": "ignore"}
BY_16_BITS = {"0": "background", "256": "cat", "512": "dog", "65280": "ignore"}
BY_VALUE = {"0": "background", "1": "cat", "2": "dog", "255": "ignore"}


def rule(mapping: dict[str, str], background: str = "none") -> TruthRule:
    return truth_rule(mapping, NAMES, background, voc_palette())


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG that says it is so large, whatever `rows` hold."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        content += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return content


def coloured() -> np.ndarray:
    pixels = np.zeros((*CLASSES.shape, 3), np.uint8)
    for value, colour in COLOURS.items():
        pixels[value == CLASSES] = colour
    return pixels


def palette_image() -> Image.Image:
    """The classes at indices 7, 0, 3, 1, in their colours."""
    places = {0: 7, 1: 0, 2: 3, 255: 1}
    indices, palette = np.zeros(CLASSES.shape, np.uint8), np.full((256, 3), 99, np.uint8)
    for value, place in places.items():
        indices[value == CLASSES] = place
        palette[place] = COLOURS[value]
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    return image


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_every_way_to_save_a_mask_gives_the_same_classes(tmp_path, suffix):
    opaque, wide = np.full(CLASSES.shape, 255, np.uint8), CLASSES.astype(np.uint16)
    indices = {"7": "background", "0": "cat", "3": "dog", "1": "ignore"}
    ways = [(coloured(), BY_COLOUR), (np.dstack([coloured(), opaque]), BY_COLOUR), (np.dstack([CLASSES] * 3), BY_VALUE)]
    ways += [(CLASSES, BY_VALUE), (CLASSES, {}), (wide, {}), (wide * 256, BY_16_BITS)]
    saved = [(Image.fromarray(pixels), mapping) for pixels, mapping in ways]
    for image, mapping in (*saved, (palette_image(), BY_COLOUR), (palette_image(), indices)):
        image.save(tmp_path / f"a.{suffix}")
        read = read_truth(tmp_path / f"a.{suffix}", rule(mapping))
        assert read.dtype == np.uint8
        assert np.array_equal(read, CLASSES)


def test_greys_of_few_bits_and_of_a_gif_are_values_and_no_brightness(tmp_path):
    """As programs write it that make PNG files small; Pillow would make 17 of a 1 in 4 bits."""
    for bits in (1, 2, 4):
        values, path = np.array([[0, 1, 0, 1, 1, 0, 1, 2**bits - 1]], np.uint8), tmp_path / "a.png"
        rows = b"\0" + np.packbits(np.unpackbits(values[0][:, None], axis=1)[:, -bits:]).tobytes()
        path.write_bytes(png(8, 1, bits, 0, rows))
        assert np.array_equal(read_truth(path), values)
        assert np.array_equal(read_mask(path), values)
        table = {"#ffffff": "dog"} | dict.fromkeys(map(str, range(2**bits - 1)), "cat")
        assert np.array_equal(read_truth(path, rule(table)) == 2, values == 2**bits - 1)
    Image.fromarray(CLASSES * 3).save(tmp_path / "a.gif")  # of 2 * 3 it makes 2
    assert np.array_equal(read_truth(tmp_path / "a.gif"), CLASSES * 3)
    palette_image().save(tmp_path / "a.gif")
    assert np.array_equal(read_truth(tmp_path / "a.gif", rule(BY_COLOUR)), CLASSES)


def test_one_bit_by_value_and_by_colour_and_the_label_of_the_image_names_the_object(tmp_path):
    Image.fromarray(CLASSES == 1).save(tmp_path / "a.png")
    for mapping in ({"0": "background", "1": "dog"}, {"#000000": "background", "#ffffff": "dog"}):
        assert np.array_equal(read_truth(tmp_path / "a.png", rule(mapping)), (CLASSES == 1) * 2)
    Image.fromarray(np.where(CLASSES, 255, 0).astype(np.uint8)).save(tmp_path / "a.png")
    given = rule({"0": "background", "255": "label"})
    assert set(read_truth(tmp_path / "a.png", given, labels=(1,)).ravel()) == {0, 2}
    refused(r"a\.png holds 255, which .* the image has 2 labels", read_truth, tmp_path / "a.png", given, labels=(0, 1))


def test_a_mapping_that_means_nothing_or_not_enough_is_refused(tmp_path):
    for mapping, says in (
        ({"0": "background"}, r"a\.png holds 1 \(1 pixels\), which data.mask_val.* name.*0: background, 1: CLASS"),
        ({"#000000": "background"}, r"holds #010101 \(1 pixels\)"),
        ({"0": "bird"}, r"'0' stands for unknown class 'bird'.*known: cat, dog, background, ignore, label"),
        ({"0": "cats"}, r"did you mean 'cat'"),
        ({"red": "cat"}, r"'red' is no value of a mask and no colour"),
        ({"#fff": "cat"}, r"'#fff' is no value"),
        ({"-1": "cat"}, r"'-1' is no value"),
    ):
        Image.fromarray(CLASSES).save(tmp_path / "a.png")
        with pytest.raises(UserError, match=says):
            read_truth(tmp_path / "a.png", rule(mapping))


def test_a_mask_saved_with_loss_is_refused_whatever_its_name_and_what_lies_in_its_place_named(tmp_path):
    (tmp_path / "a.npy").touch()
    refused(r"there is no mask .*a\.png, but a\.npy; expected a palette", read_mask, tmp_path / "a.png")
    (tmp_path / "a.npy").unlink()
    Image.fromarray(CLASSES).save(tmp_path / "a.jpg")
    refused(r"a\.jpg is saved as JPEG, which changes values", read_truth, tmp_path / "a.jpg")
    refused(r"a\.jpg is saved as JPEG, which changes values", read_mask, tmp_path / "a.jpg")
    Image.fromarray(CLASSES).save(tmp_path / "a.tif", compression="jpeg")
    refused(r"a\.tif is saved as JPEG, which changes values", read_truth, tmp_path / "a.tif")
    Image.fromarray(CLASSES).save(tmp_path / "a.jpg", format="PNG")
    assert np.array_equal(read_truth(tmp_path / "a.jpg"), CLASSES)


def test_facts_say_what_is_in_the_file_also_in_alpha_and_further_images(tmp_path):
    palette_image().save(tmp_path / "a.png")
    facts = read_with_facts(tmp_path / "a.png")[1]
    assert facts.keys == ("0", "1", "3", "7")
    assert dict(facts.colours)[3] == "#0ac81e"
    Image.fromarray(coloured()).save(tmp_path / "b.png")
    mask, facts = read_with_facts(tmp_path / "b.png")
    assert mask is None
    assert set(facts.keys) == {"#000000", "#c80a14", "#0ac81e", "#ffffff"}
    assert "data.mask_values={" in facts.problem
    alpha = np.zeros((4, 4, 4), np.uint8)
    alpha[1:3, 1:3, 3] = 255
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    refused(r"alpha\.png has transparent pixels of the same colour .*without alpha", read_truth, tmp_path / "alpha.png")
    alpha[1:3, 1:3, :3] = 9
    Image.fromarray(alpha).save(tmp_path / "clear.png")
    assert decode_mask(tmp_path / "clear.png").codes[1, 1] == 0x090909
    pages = [Image.new("L", (4, 4), value) for value in (0, 1)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    refused(r"pages\.tif holds 2 images, expected one", read_truth, tmp_path / "pages.tif")
