"""Pictures as a person would see them: turned, on white, in 8 bits, and of the first frame."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image

from support.properties import given, st
from support.repository import shared
from vovnet.core.errors import DataError
from vovnet.data import decoder
from vovnet.data.decoder import decode, open_image
from vovnet.data.perceptual_hash import perceptual_hash

SIZE = (7, 5)
Colours = NDArray[np.uint8]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def shown(content: bytes) -> NDArray[np.int64]:
    image = decode(content, "x")[1]
    assert image.mode == "RGB"
    return np.asarray(image).astype(np.int64)


def png(depth: int, kind: int, rows: list[bytes], key: bytes) -> bytes:
    """A PNG with a transparent value, of a bit depth that PIL does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    width = len(rows[0]) * 8 // depth // {0: 1, 2: 3}[kind]
    header = struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [
        chunk(b"IHDR", header),
        chunk(b"tRNS", key),
        chunk(b"IDAT", pixels),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# ---------------------------------------------------------------- cases

ALPHA = ("rgba_png.bin", "la_png.bin", "palette_trns_png.bin", "rgba_webp.bin")


@pytest.mark.parametrize("name", ALPHA)
def test_black_letters_on_nothing_are_black_on_white(name: str) -> None:
    colours = shown((shared("cases/01-alpha") / name).read_bytes())
    assert colours[0, 0].tolist() == [255, 255, 255] and colours.min() < 60
    assert 230 < colours.mean() < 250


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_turned_sign_stands_upright(orientation: int) -> None:
    folder = shared("cases/03-exif")
    upright = np.asarray(open_image(folder / "o1.jpg")).astype(np.int64)
    colours = np.asarray(open_image(folder / f"o{orientation}.jpg")).astype(np.int64)
    assert colours.shape == upright.shape == (80, 160, 3)
    assert abs(colours - upright).mean() < 2


def photographs() -> list[bytes]:
    folder = shared("samples")
    paths = [*folder.glob("mmbench/official_images/*.jpg"), *folder.glob("textvqa/**/*.jpg")]
    return [path.read_bytes() for path in sorted(paths)]


def test_copies_of_photographs_are_near() -> None:
    """The sample pictures: all that have equal pixels, most at three quarters, none by mistake."""
    hashes, equal, smaller = {}, [], []
    for content in dict.fromkeys(photographs()):
        image = decode(content, "x")[1]
        hashes[content] = value = perceptual_hash(image)
        three_quarters = image.resize((image.width * 3 // 4, image.height * 3 // 4))
        copies = (
            encoded(image, "PNG", compress_level=0),
            encoded(three_quarters, "JPEG", quality=85),
        )
        found = [perceptual_hash(decode(copy, "x")[1]) for copy in copies]
        if value:
            equal.append(found[0] == value)
            smaller.append((int(found[1], 16) ^ int(value, 16)).bit_count() <= 8)
    assert all(equal) and len(equal) == 29
    assert sum(smaller) >= 27
    numbers = [int(value, 16) for value in hashes.values() if value]
    pairs = [(a ^ b).bit_count() for at, a in enumerate(numbers) for b in numbers[:at]]
    assert min(pairs) > 8


# ---------------------------------------------------------------- properties


@st.composite
def pictures(draw: st.DrawFn) -> tuple[bytes, Colours]:
    """A picture that was stored in some way without loss, and the colours that it shows."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mode = draw(st.sampled_from(["1", "L", "P", "RGB", "LA", "RGBA", "PA", "I;16", "key", "keyL"]))
    width, height = SIZE
    grey = rng.integers(0, 256, (height, width), dtype=np.uint8)
    colours = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    alpha = rng.choice(np.array([0, 1, 100, 254, 255], np.uint8), (height, width))
    options: dict[str, Any] = {}
    kinds = ["PNG", "TIFF"]
    if mode == "1":
        seen, image = grey // 128 * 255, Image.fromarray(grey >= 128)
    elif mode == "I;16":
        wide = rng.integers(0, 65536, (height, width), dtype=np.uint16)
        seen, image = np.rint(wide / 257).astype(np.uint8), Image.fromarray(wide)
    elif mode in ("L", "keyL"):
        seen, image = grey, Image.fromarray(grey)
        kinds += ["BMP", "GIF"]
    elif mode in ("RGB", "key"):
        seen, image = colours, Image.fromarray(colours)
        kinds += ["BMP", "WEBP"]
    elif mode in ("P", "PA"):
        image = Image.fromarray(grey).convert("RGB").quantize(16)
        seen = np.asarray(image.convert("RGB"))
        options["transparency"] = level = bytes(rng.integers(0, 256, 16, dtype=np.uint8))
        kinds = ["PNG"]
        if mode == "PA":
            seen = on_white(seen, np.frombuffer(level, np.uint8)[np.asarray(image)])
        else:
            del options["transparency"]
            kinds += ["TIFF", "BMP", "GIF"]
    else:
        base = grey[..., None].repeat(3, -1) if mode == "LA" else colours
        stored = [grey, alpha] if mode == "LA" else [*np.moveaxis(colours, -1, 0), alpha]
        image = Image.merge(mode, [Image.fromarray(band) for band in stored])
        seen = on_white(base, alpha)
        kinds += ["WEBP"]
    if mode in ("key", "keyL"):  # one colour is transparent
        kinds = ["PNG"]
        key = image.getpixel((draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))))
        options["transparency"] = key
        is_key = seen == np.array(key, np.uint8)
        clear = is_key.all(-1, keepdims=True) if mode == "key" else is_key
        seen = np.where(clear, np.uint8(255), seen)
    kind = draw(st.sampled_from(kinds))
    if kind == "WEBP":
        options |= {"lossless": True, "exact": True}
    turn = draw(st.integers(1, 8)) if kind in ("PNG", "TIFF", "WEBP") else 1
    if turn > 1:
        exif = Image.Exif()
        exif[0x0112] = turn
        options["exif"] = exif
    frames = [Image.new(image.mode, image.size)] if kind in ("GIF", "TIFF", "WEBP") else []
    if frames and draw(st.booleans()):
        options |= {"save_all": True, "append_images": frames}
    if seen.ndim == 2:
        seen = seen[..., None].repeat(3, -1)
    return encoded(image, kind, **options), turned(seen, turn)


def on_white(colours: Colours, alpha: Colours) -> Colours:
    share = alpha[..., None] / 255
    return np.asarray(np.rint(colours * share + 255 * (1 - share)), np.uint8)


def turned(colours: Colours, orientation: int) -> Colours:
    """What EXIF says: where row 0 and column 0 of the stored picture are when it is seen."""
    flips: dict[int, Any] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, 1),
    }
    return np.asarray(flips[orientation](colours))


@settings(max_examples=150)
@given(pictures())
def test_a_picture_shows_what_was_stored(picture: tuple[bytes, Colours]) -> None:
    content, expected = picture
    colours = shown(content)
    assert colours.shape == expected.shape
    assert abs(colours - expected.astype(np.int64)).max() <= 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "BAND_PIXELS", 2 * colours.shape[1])
        assert (shown(content) == colours).all(), "large images are converted in parts"


DECODES = """
import resource, sys
from vovnet.data.decoder import decode
content = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decode(content, "x")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_large_picture_is_held_in_memory_once_as_it_is_and_once_as_it_is_shown() -> None:
    content = encoded(Image.new("LA", (6000, 6000)), "PNG")
    command = [sys.executable, "-c", DECODES]
    used_mb = int(subprocess.run(command, input=content, capture_output=True, check=True).stdout)
    assert used_mb < 1.3 * 2 * 4 * 36, "four bytes for each pixel of both"


@given(st.sampled_from([1, 2, 4]), st.integers(0, 15))
def test_a_grey_of_few_bits_may_be_transparent(depth: int, key: int) -> None:
    largest = 2**depth - 1
    key %= largest + 1
    row = 0b00011011 if depth == 2 else 0b01010011
    values = [(row >> (8 - depth * (i + 1))) & largest for i in range(8 // depth)]
    expected = [255 if value == key else value * 255 // largest for value in values]
    content = png(depth, 0, [bytes([row])], struct.pack(">H", key))
    assert shown(content)[0, :, 0].tolist() == expected


def test_colours_and_greys_of_16_bits_may_be_transparent() -> None:
    grey = png(16, 0, [struct.pack(">2H", 0x1234, 0x8000)], struct.pack(">H", 0x1234))
    assert shown(grey)[0].tolist() == [[255] * 3, [128] * 3]
    key, near = (0x1234, 0xFFFF, 0), (0x1234, 0xFFFE, 0)
    pixels = struct.pack(">9H", *key, *near, 0x8000, 0x8000, 0x8000)
    colour = png(16, 2, [pixels], struct.pack(">3H", *key))
    assert shown(colour)[0].tolist() == [[255] * 3, [0x12, 255, 0], [128] * 3]


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_scans_of_16_bits_are_scaled(order: str, inverted: bool) -> None:
    values = np.arange(0, 65536, 4369, dtype=order + "u2")[None]
    content = bytearray(encoded(Image.fromarray(values.astype(np.uint16)), "TIFF"))
    if inverted:  # PhotometricInterpretation: the largest value is black
        at = content.index(struct.pack("<HHI", 0x0106, 3, 1))
        content[at + 8 : at + 10] = struct.pack("<H", 0)
    greys = np.arange(0, 256, 17)
    assert shown(bytes(content))[0, :, 0].tolist() == greys[:: -1 if inverted else 1].tolist()


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_scans_may_hold_colours_that_are_multiplied_by_their_opacity(mode: str) -> None:
    image = Image.new(mode, (2, 1), (64,) * (len(mode) - 1) + (128,))
    content = bytearray(encoded(image, "TIFF"))
    at = content.index(struct.pack("<HHI", 0x0152, 3, 1))  # ExtraSamples
    content[at + 8 : at + 10] = struct.pack("<H", 1)
    assert np.abs(shown(bytes(content))[0, 0].astype(int) - (64 + 127)).max() <= 1


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_without_a_white_are_refused(mode: str) -> None:
    with pytest.raises(DataError, match=f"^x: not a decodable image .*{mode}.* no known white"):
        decode(encoded(Image.new(mode, SIZE, 3), "TIFF"), "x")


def test_an_animation_whose_first_frame_is_smaller_stands_on_white() -> None:
    content = bytearray(encoded(Image.new("L", (4, 4), 0), "GIF"))
    content[6:10] = struct.pack("<HH", 6, 5)  # a larger canvas
    colours = shown(bytes(content))
    assert colours.shape == (5, 6, 3)
    assert colours[:4, :4].max() == 0 and colours[4:].min() == colours[:, 4:].min() == 255


@given(st.binary(max_size=60))
def test_exif_data_that_is_broken_turns_nothing(junk: bytes) -> None:
    content = encoded(Image.new("RGB", (9, 4), "red"), "JPEG", exif=b"Exif\0\0" + junk)
    assert shown(content).shape == (4, 9, 3)


def test_a_picture_file_that_is_gone_or_a_folder_is_one_line(tmp_path: Path) -> None:
    for name in ("gone.png", "."):
        with pytest.raises(DataError, match=f"^{tmp_path}"):
            open_image(tmp_path / name)
