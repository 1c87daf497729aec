"""Measure the accuracy on tissue with known ground truth and compare it with other methods.

    python benchmarks/accuracy.py [SET ...] [--data ../shared/data/bench] [--score ../shared/tools/score.py]
                                  [--ablation] [--seeds] [--order] [--grid] [--bins]
                                  [--page FILE] [--picture FILE]

DATA holds one folder per dataset (``spatial.h5ad`` with ``obsm["truth"]``, ``reference.h5ad`` with
``obs["cell_type"]``) and ``peers.csv``, the scores of other methods. SCORE defines the metrics. The tables
use the default parameters; options print other tables instead. See README.md in the same folder.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from bins import bins, draw_edges
from contributions import grid, orders, seeds, steps
from known import KnownSet, geometric_mean, load_score
from napari_spotmix import Result
from tables import Table, fill

SHARED = Path(__file__).resolve().parents[2] / "shared"
OURS = "spotmix"
#: Did not finish training when the other methods were measured: shown, but never the best other method.
UNDERTRAINED = ("cell2location", "stereoscope")
#: Methods on the page, by the beginning of their names.
SHOWN = (OURS, "RCTD", "FlashDeconv", "CARD", "tangram-sc", "NNLS")
COLUMNS = ["dataset", "method", "rmse", "pearson_spot", "aupr", "wall_s"]


def measure(one: KnownSet) -> dict[str, object]:
    """Read, deconvolve and score one dataset, with the defaults."""
    start = time.perf_counter()
    result = one.deconvolve()
    seconds = time.perf_counter() - start
    scores = one.score(result.proportions, one.truth) | shares(result, one)
    scores |= coverage(result, one.truth)
    return {"dataset": one.name, "method": OURS, "wall_s": seconds} | scores


def shares(result: Result, one: KnownSet) -> dict[str, float]:
    """Return the RMSE of proportions of cells and of RNA against each ground truth that is known."""
    estimates = {"cells": result.cell_proportions, "RNA": result.rna_proportions}
    truths = {"cells": "truth", "RNA": "truth_rna"}
    return {
        f"{of} vs. true {true}": one.score(estimate, one.spatial.obsm[key])["rmse"]
        for true, key in truths.items()
        for of, estimate in estimates.items()
        if key in one.spatial.obsm
    }


def coverage(result: Result, truth: pd.DataFrame) -> dict[str, float]:
    """Return how often the 90% interval holds, of all types and those present, and what the errors rank."""
    estimated = result.proportions.notna().all(axis=1)
    p, error = result.proportions[estimated].to_numpy(), result.standard_errors[estimated].to_numpy()
    true = truth.reindex(columns=result.cell_types, fill_value=0.0)[estimated].to_numpy()
    lower, upper = (ends[estimated].to_numpy() for ends in result.intervals())
    held = (lower - 1e-9 <= true) & (true <= upper + 1e-9)
    return {
        "90% coverage": held.mean(),
        "present types": held[true > 0].mean(),
        "mean width": (upper - lower).mean(),
        "Spearman": spearmanr(error.ravel(), np.abs(p - true).ravel())[0],
        "RMS standard error": np.sqrt((error.astype(float) ** 2).mean()),
    }


def coverage_table(ours: pd.DataFrame) -> Table:
    """Return the coverage of the intervals, and the standard errors with the actual errors."""
    columns = ["90% coverage", "present types", "mean width", "Spearman", "RMS standard error", "rmse"]
    table = ours.set_index("dataset")[columns].rename(columns={"rmse": "RMSE"})
    table.loc["mean"] = table.mean()
    title = (
        "90% intervals: coverage and width; rank correlation of standard and actual errors, and their root "
        "mean squares:"
    )
    return Table("coverage", title, table, digits=3)


def with_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Add the RMSE of spotmix over each method's; on the row of spotmix, over the best other method's."""
    ours = table[table.method == OURS].set_index("dataset").rmse
    trained = ~table.method.str.startswith((OURS, *UNDERTRAINED))
    best = table[trained].groupby("dataset").rmse.min().reindex(ours.index)
    ratio = table.dataset.map(ours) / table.rmse.where(table.method != OURS, table.dataset.map(best))
    return table.assign(ratio=ratio)


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Return each method's means over the datasets on which it was measured, and its total seconds."""
    rows = table.groupby("method", as_index=False).agg(
        rmse=("rmse", geometric_mean),
        ratio=("ratio", geometric_mean),
        pearson_spot=("pearson_spot", "mean"),
        aupr=("aupr", "mean"),
        wall_s=("wall_s", "sum"),
        n_sets=("dataset", "size"),
    )
    return rows.assign(dataset="mean over " + rows.pop("n_sets").astype(str))


def shares_table(ours: pd.DataFrame) -> Table:
    """Return the table of RMSE of proportions of cells and of RNA against the truth of each."""
    table = ours.set_index("dataset").filter(like=" vs. ")
    table.loc["mean"] = table.apply(geometric_mean)
    return Table("shares", "RMSE of proportions of cells and of RNA; the mean is geometric:", table)


def summary(table: pd.DataFrame) -> Table:
    """Return the RMSE and AUPR of spotmix over those of the best other method, for each dataset."""
    is_ours = table.method == OURS
    ours, others = table[is_ours].set_index("dataset"), table[~is_ours].groupby("dataset")
    best = others[["rmse", "aupr"]].agg({"rmse": "min", "aupr": "max"}).reindex(ours.index)
    ratios = ours[["rmse", "aupr"]] / best
    ends = {
        "rmse": [geometric_mean(ratios.rmse), ratios.rmse.max()],
        "aupr": [ratios.aupr.mean(), ratios.aupr.min()],
    }
    end = pd.DataFrame(ends, index=["mean (geometric, arithmetic)", "worst"])
    both = pd.concat([ratios, end]).rename(columns=lambda name: f"{name.upper()} / best other")
    return Table("summary", "spotmix over the best other method, for each dataset:", both)


def show(table: pd.DataFrame) -> None:
    """Print each dataset with the best method first, then the means."""
    columns = ["dataset", "method", "rmse", "ratio", "pearson_spot", "aupr", "wall_s"]
    parts = [part.sort_values("rmse") for _, part in table.groupby("dataset")]
    shown = pd.concat([*parts, means(table).sort_values("ratio")])[columns]
    marked = shown.assign(method=shown.method.where(shown.method != OURS, f"> {OURS}"))
    digits = {"wall_s": "{:.1f}".format} | dict.fromkeys(
        ("rmse", "ratio", "pearson_spot", "aupr"), "{:.4f}".format
    )
    print(marked.to_string(index=False, formatters=digits))
    print(
        "\nratio: RMSE of spotmix over that of the method; on the row of spotmix, over that of the best "
        f"other method. {' and '.join(UNDERTRAINED)} are not counted, since their training did not finish.\n"
        "Means: geometric for RMSE and ratio, arithmetic for the other metrics; seconds are summed. Seconds: "
        "reading and fitting for spotmix, the whole process for the other methods."
    )


def by_method(table: pd.DataFrame, metric: str, best: str) -> Table:
    """Return one metric, with one row per dataset and one column per method."""
    wide = table.pivot_table(index="dataset", columns="method", values=metric)
    return Table(metric, f"{metric}:", wide.reindex(columns=list(SHOWN)), best=best)


def with_each(table: pd.DataFrame) -> Table:
    """Compare spotmix with each other method, on the datasets on which that was measured."""
    ours, rows = table[table.method == OURS].set_index("dataset"), {}
    for method in SHOWN[1:]:
        theirs = table[table.method == method].set_index("dataset")
        same = ours.reindex(theirs.index)
        rows[method] = {
            "sets": len(theirs),
            "RMSE, spotmix / other": geometric_mean(same.rmse / theirs.rmse),
            "Pearson, spotmix": same.pearson_spot.mean(),
            "Pearson, other": theirs.pearson_spot.mean(),
            "AUPR, spotmix": same.aupr.mean(),
            "AUPR, other": theirs.aupr.mean(),
        }
    frame = pd.DataFrame(rows).T.astype({"sets": int})
    return Table("means", "Comparison with each other method:", frame, digits=3)


def with_peers(sets: list[KnownSet], peers: pd.DataFrame) -> list[Table]:
    """Measure every dataset with the defaults, print the comparison, and return the tables."""
    ours = pd.DataFrame([measure(one) for one in sets])
    both = pd.concat([ours, peers[peers.dataset.isin(ours.dataset)]], ignore_index=True)[COLUMNS]
    show(with_ratios(both))
    metrics = {"rmse": "nanmin", "pearson_spot": "nanmax", "aupr": "nanmax"}
    begins = both.method.str.extract(f"^({'|'.join(SHOWN)})", expand=False)
    shown = both.assign(method=begins).dropna(subset="method")
    wide = [by_method(shown, metric, best) for metric, best in metrics.items()]
    return [*wide, with_each(shown), summary(both), shares_table(ours), coverage_table(ours)]


def main() -> None:
    """Print the requested tables, or draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help="names of datasets (default: all)")
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "bench", help="folder of the datasets")
    parser.add_argument("--score", type=Path, default=SHARED / "tools" / "score.py", help="file with `score`")
    parser.add_argument("--ablation", action="store_true", help="error as each part of the model is added")
    parser.add_argument("--seeds", action="store_true", help="error with three seeds")
    parser.add_argument("--order", action="store_true", help="change by another order of rows and columns")
    parser.add_argument("--grid", action="store_true", help="learned smoothing and the best of a grid")
    parser.add_argument("--bins", action="store_true", help="error on simulated bins smaller than a cell")
    parser.add_argument("--page", type=Path, metavar="FILE", help="also write the tables to this page")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the learned edges of such bins")
    options = parser.parse_args()
    if options.picture:
        draw_edges(options.picture)
    else:
        tables = measured(options, parser)
        for table in tables:
            table.print()
        if options.page:
            fill(options.page, tables)


def measured(options: argparse.Namespace, parser: argparse.ArgumentParser) -> list[Table]:
    """Return the requested tables."""
    tables = [bins()] if options.bins else []
    of_sets = {"ablation": steps, "seeds": seeds, "order": orders, "grid": grid}
    asked = [table for name, table in of_sets.items() if getattr(options, name)]
    if options.bins and not asked:
        return tables
    sets = chosen_sets(options, parser)
    if asked:
        return [*tables, *(table(sets) for table in asked)]
    return with_peers(sets, pd.read_csv(options.data / "peers.csv"))


def chosen_sets(options: argparse.Namespace, parser: argparse.ArgumentParser) -> list[KnownSet]:
    """Return the requested datasets; exit with the list of all if there are none of these."""
    folders = sorted(path.parent for path in options.data.glob("*/spatial.h5ad"))
    chosen = [folder for folder in folders if not options.sets or folder.name in options.sets]
    if not chosen:
        known = ", ".join(folder.name for folder in folders) or "none"
        parser.error(f"no dataset of this name in {options.data}; datasets found: {known}")
    score = load_score(options.score)
    return [KnownSet(folder, score) for folder in chosen]


if __name__ == "__main__":
    main()
