# Tables


def _table_place(path: Path) -> Path | None:
    """Return a table of numbers, or the one of counts in a folder such as RCTD's."""
    if path.is_file():
        return path if is_table_name(path.name) and not may_be_labels(path) else None
    tables = [one for one in sorted(path.iterdir()) if is_table_name(one.name) and one.is_file()]
    named = [one for one in tables if _COUNTS.fullmatch(one.name.split(".")[0]) and not may_be_labels(one)]
    return named[0] if len(named) == 1 else None


def _read_table(path: Path, labels: LabelTable | None, on_progress: ProgressCallback) -> AnnData:
    table = open_table(path)
    if table.name is None or not table.genes:
        raise ReadError(
            path.parent,
            f"`{path.name}` is no table of counts or signatures: expected names in its first column and "
            f"numbers in the others, found the columns {listed(table.head.columns)}.",
        )
    counts = read_counts(Table(table.head), on_progress, _STAGE)
    sides = pd.Index(counts.rows), pd.Index(counts.columns)
    n_rows, n_columns = (0, 0) if labels is None else map(labels.n_matching, sides)
    if n_rows or n_columns:
        return _cells_of(counts if n_rows >= n_columns else counts.turned(), path)
    if may_be_signatures(counts):
        return signatures_of(counts, path)
    if labels is None:
        raise _missing_labels(path)
    raise ReadError(
        path.parent,
        f"No cell has a label: `{labels.path.name}` names neither the rows ({listed(counts.rows[:2])}) nor "
        f"the columns ({listed(counts.columns[:2])}) of `{path.name}`. Take both from the same data set.",
    )


def _cells_of(counts: TableCounts, path: Path) -> AnnData:
    notes = [f"`{path.name}` was read as {len(counts.rows):,} cells x {len(counts.columns):,} genes."]
    adata = AnnData(counts.matrix, obs=pd.DataFrame(index=pd.Index(counts.rows, dtype=object)))
    adata.var = with_plain_ids(counts.columns, notes)
    add_notes(adata, notes)
    return adata


