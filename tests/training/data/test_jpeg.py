from io import BytesIO

import numpy as np
import pytest
from PIL import Image as Pillow

from laptime.errors import DataProblem
from laptime.training.data.jpeg import Header, decode, encode, header, rgb_jpeg


def picture(height=24, width=40):
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 8, columns * 6, np.full_like(rows, 90)], -1).astype(np.uint8)


def stored(image, kind, mode="RGB", **options):
    target = BytesIO()
    Pillow.fromarray(image).convert(mode).save(target, kind, **options)
    return target.getvalue()


def test_encode_and_decode_keep_size_and_colour():
    data = encode(picture(), 95)
    assert header(data) == Header(24, 40, "YCbCr")
    assert np.abs(decode(data).astype(int) - picture()).mean() < 3


def test_a_whole_jpeg_is_kept_byte_for_byte():
    data = encode(picture(), 90)
    assert rgb_jpeg(data, "a.JPEG") == (data, Header(24, 40, "YCbCr"))


def test_a_jpeg_with_bytes_after_its_end_is_kept():
    data = encode(picture(), 90) + b"\0\0trailing"
    assert rgb_jpeg(data, "a.JPEG")[0] == data


def test_a_grey_jpeg_is_kept_and_decodes_to_three_channels():
    data, found = rgb_jpeg(stored(picture(), "JPEG", "L"), "grey.JPEG")
    assert found == Header(24, 40, "Gray")
    assert decode(data).shape == (24, 40, 3)


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "LA"), ("BMP", "RGB")])
def test_other_formats_become_rgb_jpegs_of_the_same_picture(kind, mode):
    original = stored(picture(), kind, mode)
    data, found = rgb_jpeg(original, "odd.JPEG")
    assert found == header(data) == Header(24, 40, "YCbCr")
    expected = np.asarray(Pillow.open(BytesIO(original)).convert("RGB")).astype(int)
    assert np.abs(decode(data) - expected).mean() < 5


def test_a_truncated_jpeg_is_named():
    data = encode(picture(), 90)
    with pytest.raises(DataProblem, match=r"train/n1/x\.JPEG is truncated: no end of image after \d+ bytes"):
        rgb_jpeg(data[:-20], "train/n1/x.JPEG")


def test_a_jpeg_cut_in_its_header_is_named():
    data = encode(picture(), 90)
    for length in (3, 100, len(data) * 2 // 3):
        with pytest.raises(DataProblem, match=r"x\.JPEG is (truncated|not a readable JPEG)"):
            rgb_jpeg(data[:length], "x.JPEG")


@pytest.mark.parametrize("data", [b"", b"<html>not found</html>", b"\xff\xd8\xff\xd9", b"\x89PNG\r\n\x1a\nbroken"])
def test_what_is_no_image_is_named(data):
    with pytest.raises(DataProblem, match=r"x\.JPEG is not a readable"):
        rgb_jpeg(data, "x.JPEG")
