"""Only a few protocols are fetched: no text from a file or an option makes fsspec run code or open others."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec.core
import pytest

from napari_spotmix import InputError, read_reference, read_spatial
from napari_spotmix.base.urls import PROTOCOLS
from napari_spotmix.io import fetched
from tests.cli.commands import spotmix

REFUSED = (
    "reference::{json}",
    "reference://{json}",
    "zip://a.h5ad::file://{json}",
    "filecache::file://{json}",
    "simplecache::file://{json}",
    "dask::file://{json}",
    "REFERENCE://{json}",
    "https://example.invalid/a::reference://{json}",
    "github://owner:repository@main/a.h5ad",
    "ssh://example.invalid/a.h5ad",
    "sftp://example.invalid/a.h5ad",
    "memory://a.h5ad",
    "local://{json}",
    "data://text",
    "nonsense://a",
)


@pytest.fixture(autouse=True)
def nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a refused text reaches fsspec."""

    def asked(url: str, *_: object, **__: object) -> None:
        raise AssertionError(f"fsspec was asked for {url}")

    monkeypatch.setattr(fsspec.core, "url_to_fs", asked)
    monkeypatch.setattr(fsspec, "filesystem", asked)


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    """References with a template that leaves a file if it is rendered without care."""
    code = "{{ cycler.__init__.__globals__.os.system('touch " + str(tmp_path / "ran") + "') }}"
    path = tmp_path / "references.json"
    path.write_text(json.dumps({"version": 1, "templates": {"u": code}, "refs": {"a": ["{{u}}", 0, 1]}}))
    return path


def url_of(template: str, payload: Path) -> str:
    return template.format(json=payload)


def assert_refused(words: str) -> None:
    text = " ".join(words.replace("│", " ").split())
    assert "must be one URL that begins with" in text
    assert all(f"{protocol}://" in text for protocol in PROTOCOLS)


@pytest.mark.parametrize("template", [one for one in REFUSED if "://" in one])
def test_a_refused_url_runs_nothing_in_python(template: str, payload: Path, tmp_path: Path) -> None:
    url = url_of(template, payload)
    for read in (fetched, read_spatial, read_reference):
        with pytest.raises(InputError) as caught:
            read(url)
        assert_refused(str(caught.value))
        assert len(caught.value.problems) == 1
    assert not (tmp_path / "ran").exists()


def test_a_chain_without_a_protocol_is_a_path(payload: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_spatial(f"reference::{payload}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("option", ["spatial", "reference", "--image", "--labels", "--more-references"])
@pytest.mark.parametrize("name", ["run", "check"])
def test_a_refused_url_is_exit_code_2_in_each_option(
    name: str, option: str, payload: Path, sample: Path, tmp_path: Path
) -> None:
    url = f"zip://a::file://{payload}"
    inputs = {"spatial": sample / "spots.h5ad", "reference": sample / "cells.h5ad"}
    more: tuple[object, ...] = ()
    if option.startswith("--"):
        more = (option, url)
    else:
        inputs[option] = url  # type: ignore[assignment]
    done = spotmix(name, *inputs.values(), *more, "-o", tmp_path / "out", columns=1000)
    assert done.returncode == 2
    assert_refused(done.stdout + done.stderr)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["run", "check"])
def test_all_refused_urls_are_reported_at_once(name: str, tmp_path: Path) -> None:
    urls = ("zip://a::b", "ssh://a/b", "--image", "github://c", "--more-references", "reference://d", "")
    done = spotmix(name, *urls, "-o", tmp_path / "out", columns=1000)
    assert done.returncode == 2
    assert "5 problems:" in done.stderr
    starts = ("`spatial`: 'zip://a::b'", "`reference`: 'ssh://", "--image: 'github://", "--more-references: ")
    assert [start for start in starts if start not in done.stderr] == []
    assert "--more-references: the path is empty." in done.stderr


def test_a_refused_url_in_a_samplesheet_is_named_with_its_cell(sample: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(f"sample,spatial,reference\none,reference://a.json,{sample / 'cells.h5ad'}\n")
    done = spotmix("run", sheet, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "Row 2, column spatial:" in done.stderr
    assert_refused(done.stderr)


def test_a_refused_url_in_a_recipe_is_not_fetched(finished: Path, sample: Path, tmp_path: Path) -> None:
    recipe = finished / "recipe.toml"
    text = recipe.read_text(encoding="utf-8")
    assert str(sample / "cells.h5ad") in text
    recipe.write_text(text.replace(str(sample / "cells.h5ad"), "simplecache::memory://cells.h5ad"))
    done = spotmix("rerun", recipe, "-o", tmp_path / "again")
    assert done.returncode == 2
    assert_refused(done.stderr)
    assert not (tmp_path / "again").exists()


def test_all_urls_are_checked_before_the_first_is_fetched(sample: Path, tmp_path: Path) -> None:
    done = spotmix(
        *("run", "https://example.invalid/spots.h5ad", sample / "cells.h5ad"),
        *("--labels", "memory://labels.csv", "-o", tmp_path / "out"),
    )
    assert done.returncode == 2, "and fsspec was not asked, or the test would have failed"


def test_the_password_of_a_refused_url_is_not_shown() -> None:
    with pytest.raises(InputError) as caught:
        fetched("sftp://me:secret@example.invalid/a.h5ad")
    assert "secret" not in str(caught.value)
