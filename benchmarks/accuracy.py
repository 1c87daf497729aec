"""Accuracy on tissue with known truth, beside other methods: one command, one table.

    python benchmarks/accuracy.py [SET ...] [--data ../shared/data/bench] [--score ../shared/tools/score.py]

DATA holds one folder per set (``spatial.h5ad`` with ``obsm["truth"]``, ``reference.h5ad`` with
``obs["cell_type"]``) and ``peers.csv``, what other methods scored; SCORE defines the metrics. Everything runs
with the default parameters. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_spotmix import Result, deconvolve, read_reference, read_spatial

SHARED = Path(__file__).resolve().parents[2] / "shared"
OURS = "spotmix"
#: Did not finish training when the peers were measured: shown, but not counted as the best peer.
UNDERTRAINED = ("cell2location", "stereoscope")
COLUMNS = ["dataset", "method", "rmse", "pearson_spot", "aupr", "wall_s"]

Score = Callable[[pd.DataFrame, pd.DataFrame], dict[str, float]]


def load_score(path: Path) -> Score:
    """Load the function `score` from a file that belongs to no package."""
    spec = importlib.util.spec_from_file_location("score", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    score: Score = module.score
    return score


def measure(folder: Path, score: Score) -> dict[str, object]:
    """Read, deconvolve with defaults and score one set."""
    start = time.perf_counter()
    spatial = read_spatial(folder / "spatial.h5ad")
    result = deconvolve(spatial, read_reference(folder / "reference.h5ad"), cell_type_key="cell_type")
    seconds = time.perf_counter() - start
    scores = score(result.proportions, spatial.obsm["truth"]) | shares(result, spatial, score)
    scores |= coverage(result, spatial.obsm["truth"])
    return {"dataset": folder.name, "method": OURS, "wall_s": seconds} | scores


def shares(result: Result, spatial: AnnData, score: Score) -> dict[str, float]:
    """Score proportions of cells and of RNA against both truths; a set may know only that of cells."""
    estimates = {"cells": result.cell_proportions, "rna": result.rna_proportions}
    truths = {"cells": "truth", "rna": "truth_rna"}
    return {
        f"{of} / {true}": score(estimate, spatial.obsm[key])["rmse"]
        for true, key in truths.items()
        for of, estimate in estimates.items()
        if key in spatial.obsm
    }


def coverage(result: Result, truth: pd.DataFrame) -> dict[str, float]:
    """Count how often the 90% interval, cut to 0 to 1, holds the truth: of all types, of those present."""
    estimated = result.proportions.notna().all(axis=1)
    p, error = result.proportions[estimated].to_numpy(), result.standard_errors[estimated].to_numpy()
    true = truth.reindex(columns=result.cell_types, fill_value=0.0)[estimated].to_numpy()
    away = 1.6449 * error + 1e-9
    held = ((p - away).clip(0, 1) - 1e-9 <= true) & (true <= (p + away).clip(0, 1) + 1e-9)
    return {
        "90% holds": held.mean(),
        "of present": held[true > 0].mean(),
        "rms error": np.sqrt((error**2).mean()),
    }


def show_coverage(ours: pd.DataFrame) -> None:
    """Print how sure the proportions are said to be, beside how far off they are."""
    table = ours.set_index("dataset")[["90% holds", "of present", "rms error", "rmse"]]
    table.loc["mean"] = table.mean()
    print(
        "\nShare of the 90% intervals that hold the truth, root mean square standard error and true error:\n"
    )
    print(table.to_string(float_format="{:.3f}".format))


def with_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Add our RMSE over each peer's; on our own row, over the best peer's of that set."""
    ours = table[table.method == OURS].set_index("dataset").rmse
    trained = ~table.method.str.startswith((OURS, *UNDERTRAINED))
    best = table[trained].groupby("dataset").rmse.min().reindex(ours.index)
    ratio = table.dataset.map(ours) / table.rmse.where(table.method != OURS, table.dataset.map(best))
    return table.assign(ratio=ratio)


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Return each method's geometric means over the sets it was measured on, and its seconds in all."""
    geometric = lambda values: float(np.exp(np.log(values).mean()))  # noqa: E731
    rows = table.groupby("method", as_index=False).agg(
        rmse=("rmse", geometric),
        ratio=("ratio", geometric),
        pearson_spot=("pearson_spot", "mean"),
        aupr=("aupr", "mean"),
        wall_s=("wall_s", "sum"),
        n_sets=("dataset", "size"),
    )
    return rows.assign(dataset="mean over " + rows.pop("n_sets").astype(str))


def show_shares(ours: pd.DataFrame) -> None:
    """Print the RMSE of proportions of cells and of RNA against the truth of each."""
    table = ours.set_index("dataset").filter(like=" / ")
    table.loc["mean"] = np.exp(np.log(table).mean())
    print("\nRMSE of proportions of / against the truth of; the mean is geometric:\n")
    print(table.to_string(float_format="{:.4f}".format, na_rep=""))


def show(table: pd.DataFrame) -> None:
    """Print the sets one after the other, the best method first, then the means."""
    columns = ["dataset", "method", "rmse", "ratio", "pearson_spot", "aupr", "wall_s"]
    parts = [part.sort_values("rmse") for _, part in table.groupby("dataset")]
    shown = pd.concat([*parts, means(table).sort_values("ratio")])[columns]
    marked = shown.assign(method=shown.method.where(shown.method != OURS, f"> {OURS}"))
    digits = {"wall_s": "{:.1f}".format} | dict.fromkeys(
        ("rmse", "ratio", "pearson_spot", "aupr"), "{:.4f}".format
    )
    print(marked.to_string(index=False, formatters=digits))
    print(
        "\nratio: RMSE of spotmix over the method's; on the row of spotmix over that of the best peer, which "
        f"{' and '.join(UNDERTRAINED)} are not counted as: their training was cut short.\n"
        "Means: geometric of RMSE and ratio, plain of the others, sum of seconds. Seconds of spotmix: "
        "reading and fitting; of the peers: their whole process."
    )


def main() -> None:
    """Measure the sets that were asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help="names of sets; all by default")
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "bench")
    parser.add_argument("--score", type=Path, default=SHARED / "tools" / "score.py")
    options = parser.parse_args()
    folders = sorted(path.parent for path in options.data.glob("*/spatial.h5ad"))
    chosen = [folder for folder in folders if not options.sets or folder.name in options.sets]
    if not chosen:
        parser.error(f"no such sets in {options.data}: it has {', '.join(f.name for f in folders) or 'none'}")
    score = load_score(options.score)
    ours = pd.DataFrame([measure(folder, score) for folder in chosen])
    peers = pd.read_csv(options.data / "peers.csv")
    both = pd.concat([ours, peers[peers.dataset.isin(ours.dataset)]], ignore_index=True)
    show(with_ratios(both[COLUMNS]))
    show_shares(ours)
    show_coverage(ours)


if __name__ == "__main__":
    main()
