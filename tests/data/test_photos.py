import base64
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from data.record.photos import (
    BadPhotoError,
    EncodeOptions,
    photo_features,
    pixels,
    plain_jpeg,
    to_grey_or_rgb,
)
from tests.data.drawn import encoded, picture, shared

RAW = EncodeOptions("raw")
JPEG = EncodeOptions("jpeg", exif=True)
GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")
COLOUR_MODES = ("P", "RGB", "RGBA", "CMYK")
FORMATS = {"CMYK": "TIFF", "I": "TIFF", "F": "TIFF", "RGBA": "PNG"}


def shape(features: dict) -> tuple[int, int, int]:
    return features["image_height"], features["image_width"], features["image_channels"]


@pytest.mark.parametrize("options", [RAW, JPEG], ids=["raw", "jpeg"])
@pytest.mark.parametrize("mode", GREY_MODES + COLOUR_MODES)
def test_every_mode_becomes_grey_or_rgb_with_matching_sizes(mode, options):
    content = encoded(picture(1, mode=mode), FORMATS.get(mode, "PNG"))
    features = photo_features(content, options)
    assert shape(features) == (16, 24, 1 if mode in GREY_MODES else 3)
    if options is RAW:
        assert len(base64.urlsafe_b64decode(features["image"])) == np.prod(shape(features))
        assert "image_encoding" not in features
    else:
        assert features["image"].startswith(b"\xff\xd8\xff")
        assert features["image_encoding"] == b"jpeg"
    reference = picture(1).convert("L" if mode in GREY_MODES else "RGB")
    expected = np.asarray(reference).reshape(shape(features)).astype(int)
    if mode == "1":
        assert set(np.unique(pixels(photo_features(content, RAW)))) <= {0, 255}
    else:  # a palette and CMYK lose a little, everything else nearly nothing
        assert np.abs(pixels(features) - expected).mean() < (16 if mode == "P" else 4)


def test_sixteen_bits_keep_their_high_byte():
    grey = np.array([[0, 255, 256, 65535]], np.uint16)
    content = encoded(Image.frombytes("I;16", (4, 1), grey.tobytes()), "PNG")
    assert pixels(photo_features(content, RAW)).ravel().tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize(
    ("kind", "samples", "grey"),
    [
        (np.uint16, [0, 16, 2048, 4095], [0, 1, 128, 255]),  # 12 bits in 16
        (np.uint16, [0, 7, 128, 255], [0, 7, 128, 255]),  # 8 bits in 16
        (np.int32, [0, 7, 128, 255], [0, 7, 128, 255]),
        (np.int32, [0, 256, 32768, 65535], [0, 1, 128, 255]),
        (np.int32, [-1000, 0, 1000], [0, 127, 255]),
        (np.int32, [0, 2**30, 2**31 - 1], [0, 128, 255]),
        (np.float32, [-1, 0, 1], [0, 128, 255]),
        (np.float32, [0, 32768, 65535], [0, 128, 255]),
        (np.float32, [0, 5e5, 1e6], [0, 128, 255]),
        (np.float32, [0, np.nan, 1], [0, 0, 255]),
        (np.float32, [0, np.inf, 1], [0, 255, 255]),
        (np.float32, [7e5, 7e5], [0, 0]),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_deep_samples_keep_the_range_of_the_picture(kind, samples, grey):
    values = np.array([samples], kind)
    image = Image.fromarray(values)
    content = encoded(image, "PNG" if kind is np.uint16 else "TIFF")
    assert pixels(photo_features(content, RAW)).ravel().tolist() == grey


def test_a_deep_grey_photo_keeps_its_contrast():
    content = shared("cases", "deep-grey", "int32_0_255.tif").read_bytes()
    assert np.ptp(pixels(photo_features(content, RAW))) > 50


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_floating_point_samples_of_either_range(scale):
    samples = np.array([[0.0, 0.5, 1.0]], np.float32) * scale
    content = encoded(Image.fromarray(samples), "TIFF")
    assert pixels(photo_features(content, RAW)).ravel().tolist() == [0, 128, 255]


def test_transparency_is_dropped_not_blended():
    rgba = Image.new("RGBA", (2, 2), (200, 100, 50, 0))
    features = photo_features(encoded(rgba, "PNG"), RAW)
    assert pixels(features)[0, 0].tolist() == [200, 100, 50]


def test_a_plain_jpeg_is_kept_byte_for_byte():
    for image in (picture(2), picture(2, mode="L")):
        content = encoded(image)
        assert photo_features(content, JPEG)["image"] == content
    progressive = encoded(picture(2, (64, 64)), progressive=True)
    assert photo_features(progressive, JPEG)["image"] == progressive


def test_other_jpegs_are_encoded_anew():
    cmyk = encoded(picture(3, mode="CMYK"))
    assert not plain_jpeg(cmyk)
    made = photo_features(cmyk, JPEG)
    assert plain_jpeg(made["image"]) and made["image_channels"] == 3


def test_both_encodings_of_a_jpeg_have_equal_pixels():
    content = encoded(picture(4, (61, 47)), quality=80)
    raw, jpeg = (photo_features(content, EncodeOptions(name)) for name in ("raw", "jpeg"))
    np.testing.assert_array_equal(pixels(raw), pixels(jpeg))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_an_option(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture(5), exif=exif)
    lying = photo_features(content, EncodeOptions("raw", exif=False))
    upright = photo_features(content, EncodeOptions("raw", exif=True))
    assert shape(lying) == (16, 24, 3)
    plain = pixels(lying)
    turned = {
        1: plain,
        2: plain[:, ::-1],
        3: plain[::-1, ::-1],
        4: plain[::-1],
        5: plain.transpose(1, 0, 2),
        6: np.rot90(plain, -1),
        7: np.rot90(plain, 2).transpose(1, 0, 2),
        8: np.rot90(plain),
    }
    np.testing.assert_array_equal(pixels(upright), turned[orientation])
    stored = photo_features(content, JPEG)
    assert shape(stored) == turned[orientation].shape
    # A decoder that ignores EXIF, as TensorFlow's, and one that heeds it see the same.
    again = Image.open(io.BytesIO(stored["image"]))
    assert again.getexif().get(0x0112, 1) == 1


def test_a_photo_is_turned_whatever_other_tags_it_has():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x9204] = TiffImagePlugin.IFDRational(1, 3)  # exposure bias
    content = encoded(picture(5), exif=exif)
    rational = struct.pack(">ii", 1, 3)
    order = ">" if rational in content else "<"
    at = content.index(struct.pack(f"{order}II", 1, 3))
    for value in ((-1, 3), (1, 0), (0, 0)):
        odd = content[:at] + struct.pack(f"{order}ii", *value) + content[at + 8 :]
        assert shape(photo_features(odd, JPEG)) == (24, 16, 3)


def test_unreadable_tags_are_ignored():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(picture(5), exif=exif)
    at = content.index(b"Exif\0\0") + 6
    for harm in (b"XX", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x02"):
        odd = content[:at] + harm + content[at + len(harm) :]
        assert shape(photo_features(odd, JPEG)) == (16, 24, 3)


@pytest.mark.parametrize("orientation", [0, 1, 9, 42])
def test_an_invalid_orientation_is_ignored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture(5), exif=exif)
    assert photo_features(content, JPEG)["image"] == content


@pytest.mark.parametrize("mode", ["HSV", "La", "LAB", "PA", "RGBA", "RGBX", "RGBa", "YCbCr"])
def test_modes_that_few_files_have(mode):
    plain = picture(1)
    via = {"La": "LA", "RGBa": "RGBA", "PA": "P"}.get(mode, mode)
    image = to_grey_or_rgb(plain.convert(via).convert(mode) if mode != "LAB" else lab(plain))
    grey = mode == "La"
    assert image.mode == ("L" if grey else "RGB")
    difference = np.asarray(image).astype(int) - np.asarray(plain.convert(image.mode))
    assert np.abs(difference).mean() < (16 if mode == "PA" else 4)


def lab(image: Image.Image) -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(image, *profiles, outputMode="LAB")


def bomb(side: int) -> bytes:
    """A PNG of side x side black pixels, small as a file."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side + 7) // 8 + 1) * 16, 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"not a picture at all", "not an image"),
        (b"\x00" * 4096, "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG files are not read: convert them"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "EPS files are not read"),
        (b"\0\0\0\x18ftypheic", "HEIC files are not read"),
        (b"\0\0\x02\0" + bytes(14), "not an image"),
        (encoded(picture(6, (200, 200)))[:900], "cannot be decoded"),
        (encoded(picture(6, (200, 200)), "PNG")[:-600], "cannot be decoded"),
        (bomb(10_000), "too many pixels: 10000 x 10000"),
        (bomb(30_000), "too many pixels"),
    ],
    ids=[
        "empty",
        "text",
        "zeros",
        "svg",
        "eps",
        "heic",
        "tga",
        "cut-jpeg",
        "cut-png",
        "bomb",
        "big-bomb",
    ],
)
@pytest.mark.parametrize("options", [RAW, JPEG], ids=["raw", "jpeg"])
def test_a_bad_photo_is_refused_with_a_reason(content, reason, options):
    with pytest.raises(BadPhotoError, match=reason):
        photo_features(content, options)


def test_max_pixels_is_an_option():
    content = encoded(picture(7, (24, 16)))
    photo_features(content, EncodeOptions(max_pixels=384))
    with pytest.raises(BadPhotoError, match="24 x 16, at most 383"):
        photo_features(content, EncodeOptions(max_pixels=383))


def test_max_pixels_goes_beyond_pillows_own_limit(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses twice as many
    monkeypatch.setattr("data.record.photos.MAX_PIXELS", 100)
    content = encoded(picture(7, (24, 16)))
    with pytest.raises(BadPhotoError, match="too many pixels"):
        photo_features(content, EncodeOptions(max_pixels=100))
    photo_features(content, EncodeOptions(max_pixels=384))
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_memory_error_does_not_discard_the_photo(monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "getexif", fail)
    with pytest.raises(MemoryError):
        photo_features(encoded(picture(8)), JPEG)


def test_every_corrupt_file_is_refused():
    for path in sorted(shared("images", "corrupt").iterdir()):
        for options in (RAW, JPEG):
            with pytest.raises(BadPhotoError):
                photo_features(path.read_bytes(), options)


def test_every_unusual_file_is_read():
    for path in sorted(shared("images", "odd").iterdir()):
        raw, jpeg = (photo_features(path.read_bytes(), options) for options in (RAW, JPEG))
        assert len(base64.urlsafe_b64decode(raw["image"])) == np.prod(shape(raw)), path.name
        assert plain_jpeg(jpeg["image"]), path.name
        assert pixels(jpeg).shape == shape(jpeg), path.name


def test_what_cameras_write_after_a_jpeg_is_cut_off():
    content = encoded(picture(2))
    for further in (b"\0", b"junk" * 100, b"\xff\xd8\xff" + bytes(20)):
        assert photo_features(content + further, JPEG)["image"] == content


def test_another_format_of_pillows_is_not_opened():
    for name in ("EPS", "TGA", "ICO", "PCX"):
        with pytest.raises(BadPhotoError, match=r"not an image|are not read"):
            photo_features(encoded(picture(2), name), RAW)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read in /proc")
def test_a_large_deep_picture_takes_few_times_its_pixels():
    code = (
        "import io\n"
        "from PIL import Image\n"
        "from data.record.photos import EncodeOptions, photo_features\n"
        "file = io.BytesIO()\n"
        "Image.new('I;16', (6000, 6000)).save(file, 'PNG')\n"
        "photo_features(file.getvalue(), EncodeOptions('jpeg'))\n"
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300 * 1024, "KiB, for 36 million pixels of 2 bytes"
