# Loom


def _loom_place(path: Path) -> Path | None:
    return path if path.suffix.lower() == ".loom" and path.is_file() and _starts_as_hdf5(path) else None


def _read_loom(path: Path, _: LabelTable | None, on_progress: ProgressCallback) -> AnnData:
    try:
        import loompy  # noqa: F401  (what anndata reads it with)
    except ImportError:
        raise ReadError(
            path, "is a loom file, which needs loompy: `pip install 'napari-spotmix[loom]'`."
        ) from None
    with as_read_error(path, path.name), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # duplicate gene names, and loompy's own use of NumPy
        names = {"obs_names": _attribute(path, "col_attrs", "CellID", "obs_names", "cell_id", "barcode")}
        names |= {"var_names": _attribute(path, "row_attrs", "Gene", "var_names", "gene", "gene_name")}
        adata: AnnData = run_cancellable(lambda: anndata.io.read_loom(path, X_name="", **names), _STAGE, on_progress)
    on_progress(Progress(_STAGE, 1, 1))
    return adata


def _attribute(path: Path, side: str, *names: str) -> str:
    """Return the attribute that names cells or genes."""
    with h5py.File(path, "r") as file:
        found = [str(name) for name in file[side]]
    known = {name.lower(): name for name in found}
    for name in names:
        if name.lower() in known:
            return known[name.lower()]
    raise ReadError(
        path,
        f"`{side}` names neither cells nor genes: expected one of {listed(names)}, found {listed(found)}.",
    )


