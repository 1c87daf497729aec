"""Accuracy on tissue with known truth, beside other methods: one command, one table.

    python benchmarks/accuracy.py [SET ...] [--data ../shared/data/bench] [--score ../shared/tools/score.py]
                                  [--ablation] [--seeds] [--grid] [--bins] [--page FILE] [--picture FILE]

DATA holds one folder per set (``spatial.h5ad`` with ``obsm["truth"]``, ``reference.h5ad`` with
``obs["cell_type"]``) and ``peers.csv``, what other methods scored; SCORE defines the metrics. The table uses
the default parameters; options print something else in its place. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bins import bins, draw_edges
from contributions import grid, seeds, steps
from known import KnownSet, geometric_mean, load_score
from napari_spotmix import Result
from tables import Table, fill

SHARED = Path(__file__).resolve().parents[2] / "shared"
OURS = "spotmix"
#: Did not finish training when the peers were measured: shown, but not counted as the best peer.
UNDERTRAINED = ("cell2location", "stereoscope")
#: On the page, by how their names begin.
SHOWN = (OURS, "RCTD", "FlashDeconv", "CARD", "tangram-sc", "NNLS")
COLUMNS = ["dataset", "method", "rmse", "pearson_spot", "aupr", "wall_s"]


def measure(one: KnownSet) -> dict[str, object]:
    """Read, deconvolve with defaults and score one set."""
    start = time.perf_counter()
    result = one.deconvolve()
    seconds = time.perf_counter() - start
    scores = one.score(result.proportions, one.truth) | shares(result, one)
    scores |= coverage(result, one.truth)
    return {"dataset": one.name, "method": OURS, "wall_s": seconds} | scores


def shares(result: Result, one: KnownSet) -> dict[str, float]:
    """Score proportions of cells and of RNA against both truths; a set may know only that of cells."""
    estimates = {"cells": result.cell_proportions, "rna": result.rna_proportions}
    truths = {"cells": "truth", "rna": "truth_rna"}
    return {
        f"{of} / {true}": one.score(estimate, one.spatial.obsm[key])["rmse"]
        for true, key in truths.items()
        for of, estimate in estimates.items()
        if key in one.spatial.obsm
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


def coverage_table(ours: pd.DataFrame) -> Table:
    """Return how sure the proportions are said to be, beside how far off they are."""
    table = ours.set_index("dataset")[["90% holds", "of present", "rms error", "rmse"]]
    table.loc["mean"] = table.mean()
    title = "Share of the 90% intervals that hold the truth, root mean square standard error and true error:"
    return Table("coverage", title, table, digits=3)


def with_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Add our RMSE over each peer's; on our own row, over the best peer's of that set."""
    ours = table[table.method == OURS].set_index("dataset").rmse
    trained = ~table.method.str.startswith((OURS, *UNDERTRAINED))
    best = table[trained].groupby("dataset").rmse.min().reindex(ours.index)
    ratio = table.dataset.map(ours) / table.rmse.where(table.method != OURS, table.dataset.map(best))
    return table.assign(ratio=ratio)


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Return each method's geometric means over the sets it was measured on, and its seconds in all."""
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
    """Return the RMSE of proportions of cells and of RNA against the truth of each."""
    table = ours.set_index("dataset").filter(like=" / ")
    table.loc["mean"] = table.apply(geometric_mean)
    return Table("shares", "RMSE of proportions of / against the truth of; the mean is geometric:", table)


def summary(table: pd.DataFrame) -> Table:
    """Return our RMSE and AUPR over those of the best of all other methods, set by set."""
    is_ours = table.method == OURS
    ours, others = table[is_ours].set_index("dataset"), table[~is_ours].groupby("dataset")
    best = others[["rmse", "aupr"]].agg({"rmse": "min", "aupr": "max"}).reindex(ours.index)
    ratios = (ours[["rmse", "aupr"]] / best).add_suffix(" / best")
    worst = ratios["rmse / best"].idxmax()
    ends = {
        "rmse / best": [geometric_mean(ratios["rmse / best"]), ratios.loc[worst, "rmse / best"]],
        "aupr / best": [ratios["aupr / best"].mean(), ratios["aupr / best"].min()],
    }
    end = pd.DataFrame(ends, index=["mean (geometric, plain)", "worst"])
    return Table("summary", "Over the best of all other methods, set by set:", pd.concat([ratios, end]))


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


def by_method(table: pd.DataFrame, metric: str, best: str) -> Table:
    """Return one metric, a set a row and a method a column."""
    wide = table.pivot_table(index="dataset", columns="method", values=metric)
    return Table(metric, f"{metric}:", wide.reindex(columns=list(SHOWN)), best=best)


def beside_each(table: pd.DataFrame) -> Table:
    """Return how we compare with each other method, on the sets that it was measured on."""
    ours, rows = table[table.method == OURS].set_index("dataset"), {}
    for method in SHOWN[1:]:
        theirs = table[table.method == method].set_index("dataset")
        same = ours.reindex(theirs.index)
        rows[method] = {
            "sets": len(theirs),
            "our RMSE / theirs": geometric_mean(same.rmse / theirs.rmse),
            "our Pearson": same.pearson_spot.mean(),
            "theirs": theirs.pearson_spot.mean(),
            "our AUPR": same.aupr.mean(),
            "theirs ": theirs.aupr.mean(),
        }
    return Table("means", "Beside each other method:", pd.DataFrame(rows).T.astype({"sets": int}), digits=3)


def beside_peers(sets: list[KnownSet], peers: pd.DataFrame) -> list[Table]:
    """Measure every set with the defaults, print how it compares, and return the tables."""
    ours = pd.DataFrame([measure(one) for one in sets])
    both = pd.concat([ours, peers[peers.dataset.isin(ours.dataset)]], ignore_index=True)[COLUMNS]
    show(with_ratios(both))
    metrics = {"rmse": "nanmin", "pearson_spot": "nanmax", "aupr": "nanmax"}
    begins = both.method.str.extract(f"^({'|'.join(SHOWN)})", expand=False)
    shown = both.assign(method=begins).dropna(subset="method")
    wide = [by_method(shown, metric, best) for metric, best in metrics.items()]
    return [*wide, beside_each(shown), summary(both), shares_table(ours), coverage_table(ours)]


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help="names of sets; all by default")
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "bench")
    parser.add_argument("--score", type=Path, default=SHARED / "tools" / "score.py")
    parser.add_argument("--ablation", action="store_true", help="what each step contributes")
    parser.add_argument("--seeds", action="store_true", help="how much chance decides")
    parser.add_argument("--grid", action="store_true", help="what is learned beside the best of a grid")
    parser.add_argument("--bins", action="store_true", help="simulated bins smaller than a cell")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the tables in their places on a page")
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
    """Return the tables that were asked for."""
    tables = [bins()] if options.bins else []
    of_sets = {"ablation": steps, "seeds": seeds, "grid": grid}
    asked = [table for name, table in of_sets.items() if getattr(options, name)]
    if options.bins and not asked:
        return tables
    sets = chosen_sets(options, parser)
    if asked:
        return [*tables, *(table(sets) for table in asked)]
    return beside_peers(sets, pd.read_csv(options.data / "peers.csv"))


def chosen_sets(options: argparse.Namespace, parser: argparse.ArgumentParser) -> list[KnownSet]:
    """Return the sets that were asked for, or say which there are."""
    folders = sorted(path.parent for path in options.data.glob("*/spatial.h5ad"))
    chosen = [folder for folder in folders if not options.sets or folder.name in options.sets]
    if not chosen:
        parser.error(f"no such sets in {options.data}: it has {', '.join(f.name for f in folders) or 'none'}")
    score = load_score(options.score)
    return [KnownSet(folder, score) for folder in chosen]


if __name__ == "__main__":
    main()
