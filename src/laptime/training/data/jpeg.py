"""JPEG byte strings <-> RGB arrays, and the repairs that published data sets need. Uses libjpeg-turbo (simplejpeg)."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from laptime.errors import DataProblem

Image = NDArray[np.uint8]  # (height, width, 3), RGB

START_OF_IMAGE = b"\xff\xd8"
START_OF_SCAN = b"\xff\xda"
END_OF_IMAGE = b"\xff\xd9"
REPAIR_QUALITY = 100  # ImageNet reference packing: CMYK JPEG and PNG become RGB JPEG at quality 100


@dataclass(frozen=True)
class Header:
    """Size in pixels and colour space ("RGB", "YCbCr", "Gray", "CMYK", "YCCK")."""

    height: int
    width: int
    colorspace: str


def header(data: bytes) -> Header:
    """What a JPEG says of itself. Raises ValueError when it is none."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except KeyError:  # simplejpeg 1.9: the header ends before the sampling of its components
        raise ValueError("the header is incomplete") from None
    return Header(int(height), int(width), str(colorspace))


def decode(data: bytes | memoryview) -> Image:
    """The whole image, (height, width, 3) uint8 RGB; releases the GIL. Raises ValueError when it cannot be decoded.

    Warnings of the decoder (stray bytes, as in some published images) are ignored.
    """
    image: Image = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=False)
    return image


def encode(image: Image, quality: int) -> bytes:
    """An RGB image as a JPEG with halved colour resolution (4:2:0), as cameras and published data sets have it."""
    data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=quality, colorspace="RGB",
                                         colorsubsampling="420")
    return data


def rgb_jpeg(data: bytes, where: str) -> tuple[bytes, Header]:
    """`data` unchanged if it is a whole RGB or grey JPEG, else re-encoded as one, and its header.

    CMYK JPEGs and other formats in disguise need Pillow. Raises DataProblem naming `where`.
    """
    if not data.startswith(START_OF_IMAGE):
        return _repaired(data, where)
    try:
        found = header(data)
    except ValueError as error:
        raise DataProblem(f"{where} is not a readable JPEG: {error}", hint=_AGAIN) from None
    if found.colorspace in ("CMYK", "YCCK"):
        return _repaired(data, where)
    if not _whole(data):
        raise DataProblem(f"{where} is truncated: no end of image after {len(data)} bytes", hint=_AGAIN)
    return data, found


_AGAIN = "Fetch or unpack this file again."


def _whole(data: bytes) -> bool:
    """The last end marker follows the last scan, or the decoder finds nothing wrong."""
    if data.rfind(END_OF_IMAGE) > data.rfind(START_OF_SCAN):
        return True
    try:
        simplejpeg.decode_jpeg(data, strict=True)
    except ValueError:
        return False
    return True


def _repaired(data: bytes, where: str) -> tuple[bytes, Header]:
    try:
        from PIL import Image as Pillow
        from PIL import UnidentifiedImageError
    except ImportError:
        raise DataProblem(f"{where} is not an RGB JPEG and must be converted, which needs Pillow",
                          hint="Install it: pip install pillow") from None
    try:
        with Pillow.open(BytesIO(data)) as picture:
            converted = picture.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise DataProblem(f"{where} is not a readable image: {error}", hint=_AGAIN) from None
    target = BytesIO()
    converted.save(target, format="JPEG", quality=REPAIR_QUALITY)
    return target.getvalue(), Header(converted.height, converted.width, "YCbCr")
