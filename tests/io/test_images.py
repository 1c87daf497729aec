"""Images in: PNG, JPEG and TIFF, small at once and large by tiles."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from anndata import AnnData

from napari_spotmix import ReadError, read_spatial
from napari_spotmix.base.progress import Progress
from napari_spotmix.io import TissueImage, read_image, reading_notes
from napari_spotmix.io.readers import images as images_module
from napari_spotmix.io.readers.overview import overview
from tests.io.layouts import section, slide, write_folder


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
    with pytest.raises(ReadError, match=r"must be one of \.btf, \.jpeg, \.jpg"):
        read_image(tmp_path / "a.czi")


def test_plain_tiff(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    image = read_image(tmp_path / "a.tif")
    assert np.array_equal(image.levels[0], pixels)
    assert image.is_rgb


def test_gray_and_many_channel_tiff_are_no_rgb(tmp_path):
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


@pytest.mark.parametrize("name", ["a.svs", "a.SVS", "a.btf"])
def test_of_a_slide_the_pyramid_is_read_and_not_its_label(tmp_path, pixels, name):
    slide(tmp_path / name, pixels)
    image = read_image(tmp_path / name)
    assert [level.shape for level in image.levels] == [(96, 128, 3), (48, 64, 3)]
    assert not isinstance(image.levels[0], np.ndarray), "tiles are read when they are asked for"
    assert np.array_equal(image.levels[0][:], pixels)
    image.close()


def test_of_several_images_the_largest_is_read_wherever_it_stands(tmp_path, pixels):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(pixels[:20, :20], photometric="rgb", metadata=None)
        tiff.write(pixels, photometric="rgb", metadata=None)
    assert np.array_equal(read_image(tmp_path / "a.tif").levels[0], pixels)


def test_an_overview_is_made_of_means_and_knows_its_scale(tmp_path, pixels):
    write_pyramid(tmp_path / "a.ome.tif", pixels)
    image = read_image(tmp_path / "a.ome.tif")
    reports: list[Progress] = []
    seen, factor = overview(image, longest=32, on_progress=reports.append)
    image.close()
    assert factor == 0.25
    assert seen.shape == (24, 32, 3)
    assert np.array_equal(seen, pixels[::4, ::4]), "a level of the pyramid that is just large enough"
    plain = TissueImage([pixels], True, "a")
    expected = pixels[:, :126].reshape(32, 3, 42, 3, 3).mean(axis=(1, 3))
    seen, factor = overview(plain, longest=43)
    assert factor == 1 / 3
    np.testing.assert_allclose(seen, expected, atol=1)
    assert reports[0].stage == "Reading image"


def test_an_overview_of_a_large_image_is_read_in_bands(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", tile=(16, 16))
    store = tifffile.imread(tmp_path / "a.tif", aszarr=True)
    image = TissueImage([zarr.open(store, mode="r")], True, "a", store)
    reports: list[Progress] = []
    seen, _ = overview(image, longest=32, on_progress=reports.append)
    image.close()
    np.testing.assert_allclose(seen, pixels.reshape(24, 4, 32, 4, 3).mean(axis=(1, 3)), atol=1)
    assert [(report.step, report.total) for report in reports] == [(top, 96) for top in range(0, 96, 16)]


def test_an_overview_of_many_bits_uses_all_of_8():
    pixels = np.linspace(0, 900, 64 * 64).reshape(1, 64, 64).astype(np.uint16)
    seen, _ = overview(TissueImage([pixels], False, "a"), longest=64)
    assert seen.dtype == np.uint8
    assert seen.shape == (64, 64)
    assert seen.min() == 0
    assert seen.max() == 255


@pytest.mark.parametrize("name", ["full.png", "full.jpg", "full.ome.tif", "full.svs", "full.btf"])
def test_an_image_given_beside_lies_under_the_spots(tmp_path, name):
    outs = write_folder(tmp_path / "outs", section(), images=())
    smooth = np.tile(np.arange(96, dtype=np.uint8)[:, None, None], (1, 128, 3))
    write_image(tmp_path / name, smooth)
    adata = read_spatial(outs, image=tmp_path / name)
    (library,) = adata.uns["spatial"].values()
    assert library["scalefactors"]["tissue_hires_scalef"] == 1
    assert library["scalefactors"]["spot_diameter_fullres"] == 89.4
    x, y = adata.obsm["spatial"].astype(int).T
    assert np.abs(library["images"]["hires"][y, x, 0].astype(int) - y).max() < 8
    assert reading_notes(adata) == ()


def write_image(path: Path, pixels: np.ndarray) -> None:
    encoders = {".png": imagecodecs.png_encode, ".jpg": imagecodecs.jpeg8_encode}
    if path.suffix in encoders:
        path.write_bytes(encoders[path.suffix](pixels))
    else:
        (write_pyramid if path.suffix == ".tif" else slide)(path, pixels)


def test_an_image_given_beside_an_h5ad_is_kept_with_it(tmp_path, pixels):
    spots = AnnData(np.ones((2, 3), np.float32), obsm={"spatial": np.array([[5.0, 5.0], [200.0, 9.0]])})
    spots.write_h5ad(tmp_path / "spots.h5ad")
    write_image(tmp_path / "full.png", pixels)
    adata = read_spatial(tmp_path / "spots.h5ad", image=tmp_path / "full.png")
    assert np.array_equal(adata.uns["spatial"]["library"]["images"]["hires"], pixels)
    assert any("1 of 2 spots lies outside of `full.png`" in note for note in reading_notes(adata))


def test_an_image_goes_into_the_library_of_a_file_of_cellxgene(tmp_path, pixels):
    """Next to the library, its `uns['spatial']` holds `is_single`, which is no library."""
    spots = AnnData(np.ones((2, 3), np.float32), obsm={"spatial": np.ones((2, 2))})
    write_image(tmp_path / "full.png", pixels)
    for libraries, name in (({"a": {"scalefactors": {}}}, "a"), ({}, "library")):
        spots.uns["spatial"] = {"is_single": True, **libraries}
        spots.write_h5ad(tmp_path / "spots.h5ad")
        adata = read_spatial(tmp_path / "spots.h5ad", image=tmp_path / "full.png")
        assert np.array_equal(adata.uns["spatial"][name]["images"]["hires"], pixels)


def test_of_an_image_of_channels_the_first_is_shown_and_that_is_told(tmp_path):
    outs = write_folder(tmp_path / "outs", section(), images=())
    channels = np.stack([np.full((96, 128), 7 * number, np.uint8) for number in (1, 2)])
    tifffile.imwrite(tmp_path / "a.ome.tif", channels, metadata={"axes": "CYX"})
    adata = read_spatial(outs, image=tmp_path / "a.ome.tif")
    (library,) = adata.uns["spatial"].values()
    assert (library["images"]["hires"] == 7).all()
    assert reading_notes(adata) == ("`a.ome.tif` holds 2 planes or channels: the first is shown.",)


def test_a_damaged_image_given_beside_is_told_by_its_own_path(tmp_path):
    outs = write_folder(tmp_path / "outs", section())
    (tmp_path / "full.tif").write_bytes(b"II*\0")
    with pytest.raises(ReadError, match=r"full\.tif"):
        read_spatial(outs, image=tmp_path / "full.tif")


def test_an_image_of_several_sections_is_refused(tmp_path, pixels):
    spots = AnnData(np.ones((2, 3), np.float32), obsm={"spatial": np.ones((2, 2))})
    spots.uns["spatial"] = {"a": {"images": {}}, "b": {"images": {}}}
    spots.write_h5ad(tmp_path / "spots.h5ad")
    write_image(tmp_path / "full.png", pixels)
    with pytest.raises(ReadError, match="belongs to one section, and there are 2"):
        read_spatial(tmp_path / "spots.h5ad", image=tmp_path / "full.png")
