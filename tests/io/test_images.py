"""Images in: PNG, JPEG and TIFF, small at once and large by tiles."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from napari_spotmix import ReadError
from napari_spotmix.io import images as images_module
from napari_spotmix.io import read_image


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)


def test_png_is_read_as_it_is(tmp_path, pixels):
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    image = read_image(tmp_path / "a.png")
    assert np.array_equal(image.levels[0], pixels)
    assert image.is_rgb
    assert image.name == "a"
    assert image.height_width == (96, 128)


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_png_with_other_channels(tmp_path, pixels, channels):
    shape = (96, 128, channels) if channels else (96, 128)
    values = np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values))
    image = read_image(tmp_path / "a.png")
    assert image.is_rgb == (channels == 4)
    assert image.levels[0].shape == ((96, 128, 4) if channels == 4 else (96, 128))


def test_png_of_16_bits_is_shown_in_8(tmp_path):
    values = np.full((8, 8, 3), 0xAB12, dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values))
    assert read_image(tmp_path / "a.png").levels[0][0, 0].tolist() == [0xAB] * 3


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "wrongly_named.png"])
def test_jpeg_is_known_by_its_content(tmp_path, name):
    smooth = np.tile(np.arange(128, dtype=np.uint8)[:, None], (1, 64))[..., None].repeat(3, axis=2)
    (tmp_path / name).write_bytes(imagecodecs.jpeg8_encode(smooth, level=95))
    image = read_image(tmp_path / name)
    assert image.levels[0].shape == (128, 64, 3)
    assert np.abs(image.levels[0].astype(int) - smooth).max() < 8


def test_jpeg_bomb_is_refused_by_its_header(tmp_path, pixels):
    content = bytearray(imagecodecs.jpeg8_encode(pixels))
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    (tmp_path / "a.jpg").write_bytes(bytes(content))
    with pytest.raises(ReadError, match="65,535 x 65,535 pixels"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG", b"\xff\xd8", b"\xff\xd8\xff\xff\xff", b"II*\x00", b"text"]
)
def test_damaged_images_are_told(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReadError):
        read_image(tmp_path / name)


def test_missing_image_is_told(tmp_path):
    with pytest.raises(ReadError, match="does not exist"):
        read_image(tmp_path / "a.png")


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(ReadError, match=r"must be one of \.jpeg, \.jpg"):
        read_image(tmp_path / "a.svs")


def test_plain_tiff(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    image = read_image(tmp_path / "a.tif")
    assert np.array_equal(image.levels[0], pixels)
    assert image.is_rgb


def test_grey_and_many_channel_tiff_are_no_rgb(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((3, 40, 50), np.uint16), metadata={"axes": "CYX"})
    image = read_image(tmp_path / "a.ome.tif")
    assert not image.is_rgb
    assert image.height_width == (40, 50)
    assert image.name == "a"


def write_pyramid(path: Path, pixels: np.ndarray) -> None:
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(pixels, subifds=2, tile=(32, 32), photometric="rgb")
        for step in (2, 4):
            writer.write(pixels[::step, ::step], subfiletype=1, tile=(32, 32), photometric="rgb")


def test_pyramid_is_read_by_tiles(tmp_path, pixels):
    write_pyramid(tmp_path / "a.ome.tif", pixels)
    image = read_image(tmp_path / "a.ome.tif")
    assert [level.shape for level in image.levels] == [(96, 128, 3), (48, 64, 3), (24, 32, 3)]
    assert image.is_rgb
    assert not isinstance(image.levels[0], np.ndarray)
    assert np.array_equal(image.levels[0][10:20, 30:40], pixels[10:20, 30:40])
    assert np.array_equal(image.levels[2][:], pixels[::4, ::4])
    image.close()


def test_large_tiled_tiff_without_a_pyramid_is_read_by_tiles(tmp_path, pixels, monkeypatch):
    monkeypatch.setattr(images_module, "MAX_PIXELS", 1000)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", tile=(32, 32))
    image = read_image(tmp_path / "a.tif")
    assert np.array_equal(image.levels[0][:], pixels)
    image.close()


def test_large_striped_tiff_is_refused_with_advice(tmp_path, pixels, monkeypatch):
    monkeypatch.setattr(images_module, "MAX_PIXELS", 1000)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", rowsperstrip=8)
    with pytest.raises(ReadError, match="Save it as a tiled, pyramidal OME-TIFF"):
        read_image(tmp_path / "a.tif")


def test_truncated_tiff_is_told(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(ReadError):
        read_image(tmp_path / "a.tif")
