"""Former names keep working: modules, functions, methods, and the keys of result files."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import napari_spotmix
from napari_spotmix import Result, read_result
from napari_spotmix.base.old_names import MODULES, NAMES, names_of_before
from napari_spotmix.result import View

FROZEN = Path(__file__).parent / "frozen"

#: The ``__all__`` of each module of the version before the renaming.
PUBLIC: dict[str, list[str]] = json.loads((FROZEN / "public_names.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def old() -> Result:
    """A result that the version before the renaming has written, with a region, a color and a view."""
    return read_result(FROZEN / "result.h5ad")


@pytest.fixture(autouse=True)
def _forget() -> None:
    """Let each test import the old modules for the first time."""
    for name in MODULES:
        module = sys.modules.pop(f"napari_spotmix.{name}", None)
        if module is not None and "." not in name:
            delattr(napari_spotmix, name)


@pytest.mark.parametrize("name", [name for name, homes in MODULES.items() if homes])
def test_a_former_module_has_what_its_new_home_has(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = import_module(f"napari_spotmix.{name}")
    for home in MODULES[name]:
        new = import_module(f"napari_spotmix.{home}")
        public = new.__all__
        assert public
        assert all(getattr(module, one) is getattr(new, one) for one in public)


@pytest.mark.parametrize(
    ("name", "old", "new"), [(m, o, n) for m, names in NAMES.items() for o, n in names.items()]
)
def test_a_former_name_is_the_new_one(name: str, old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match="is now called napari_spotmix"):
        module = import_module(f"napari_spotmix.{name}")
    with pytest.warns(
        DeprecationWarning, match=f"{name}.{old} is now called napari_spotmix.*[.]{new}[.]"
    ) as caught:
        found = getattr(module, old)
    assert caught[0].filename == __file__
    homes = [import_module(f"napari_spotmix.{home}") for home in MODULES[name]]
    assert any(found is getattr(home, new, None) for home in homes)


@pytest.mark.parametrize(("name", "public"), sorted(PUBLIC.items()))
@pytest.mark.filterwarnings("ignore:.* is now called:DeprecationWarning")
def test_all_that_was_public_is_still_found(name: str, public: list[str]) -> None:
    module = import_module(f"napari_spotmix.{name}")
    assert [one for one in public if not hasattr(module, one)] == []


def test_a_module_that_kept_its_name_knows_what_its_contents_were_called() -> None:
    get = names_of_before("napari_spotmix.io", {"read": "read_spatial"})
    with pytest.warns(DeprecationWarning, match=r"io\.read is now called .*\.read_spatial") as caught:
        assert get("read") is napari_spotmix.read_spatial
    assert caught[0].filename == __file__
    with pytest.raises(AttributeError, match=r"'napari_spotmix\.io' has no attribute 'nothing'"):
        get("nothing")


def test_a_script_of_before_runs_and_its_line_is_named() -> None:
    with pytest.warns(DeprecationWarning, match="is now called") as caught:
        from napari_spotmix.errors import InputError  # type: ignore[import-not-found]
    assert InputError is napari_spotmix.InputError
    assert [str(one.message) for one in caught] == [
        "napari_spotmix.errors is now called napari_spotmix.base.errors. Use the new name."
    ]
    assert caught[0].filename == __file__


def test_what_was_never_there_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"napari_spotmix\.nothing"):
        import_module("napari_spotmix.nothing")
    with pytest.warns(DeprecationWarning, match="is now called"):
        from napari_spotmix import keys  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"'napari_spotmix\.keys' has no attribute 'nothing'"):
        _ = keys.nothing


def test_importing_the_package_loads_no_former_module() -> None:
    code = "import napari_spotmix, sys; print(sorted(m for m in sys.modules if m.startswith('napari_s')))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    names = ["napari_spotmix", *(f"napari_spotmix.base{name}" for name in ("", ".ending", ".old_names"))]
    assert done.stdout.strip() == str(names)


def test_former_methods_of_a_result_are_the_new_ones(old: Result) -> None:
    with pytest.warns(
        DeprecationWarning, match="Result.telling_genes is now called Result.supporting_genes"
    ) as caught:
        assert old.telling_genes(0) == old.supporting_genes(0)
    assert caught[0].filename == __file__
    with (
        pytest.warns(DeprecationWarning, match="Result.resolve is now called Result.refit"),
        pytest.raises(napari_spotmix.InputError, match="read from a file"),
    ):
        old.resolve(lambda_c=1.0)


def test_a_former_result_file_opens_with_all_that_it_holds(old: Result) -> None:
    assert old.abundances.shape == (60, 4)
    np.testing.assert_allclose(old.proportions.sum(axis=1), 1)
    # Those of its own palette and the one that was chosen, not those of today.
    own = dict(zip(old.cell_types, ("#e69f00", "#123456", "#009e73", "#f0e442"), strict=True))
    assert old.colors == own
    assert [(region.name, region.outline.shape) for region in old.regions] == [
        ("left", (4, 2)),
        ("right", (4, 2)),
    ]
    assert old.view == View(types=("Epithelial",), threshold=0.1, opacity=0.8, spot=3)
    assert old.notes == (
        "Neighbours are weighted by distance and likeness: this predicted held-out genes best.",
    )
    assert len(old.standard_errors) == 60
    assert len(old.residual_genes) == 120


def test_former_keys_of_a_result_file_are_understood(old: Result) -> None:
    given, learned = old.provenance.given, old.provenance.learned
    assert {"exclude_mito_ribo": True, "n_clusters": 32, "n_outer_iterations": 3}.items() <= given.items()
    assert not {"exclude_housekeeping", "n_archetypes", "n_epochs"} & set(given)
    assert learned.n_unmodeled_patches == 0
    assert learned.lambda_c == 0.1
    assert learned.evidence.chosen == "attention"
    assert learned.evidence.candidates["ridge"].smoothness == pytest.approx(292.22, abs=0.01)
    assert learned.data_term["cell_variation"].kappa == 0
    assert not learned.data_term["cell_variation"].is_used
    assert list(learned.data_term) == ["cell_variation", "overdispersion", "platform_effect"]
    assert old.tried_attention == learned.evidence.candidates["attention, two heads"]
    assert old.provenance.versions["napari-spotmix"] == "0.1.0"
    assert old.provenance.summary.startswith("60 spots, 4 cell types, 120 genes")


def test_a_former_result_file_is_written_by_the_names_of_today(old: Result) -> None:
    again = Result.from_anndata(old.to_anndata())
    assert again.provenance == old.provenance
    assert again.view == old.view
    assert again.colors == old.colors
