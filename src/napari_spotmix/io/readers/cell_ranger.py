# 10x Genomics


def _tenx_place(path: Path) -> Path | None:
    """Return the matrix at `path`, or the one in the output folder of Cell Ranger."""
    if path.is_file():
        return path if path.suffix.lower() == ".h5" and _starts_as_hdf5(path) else None
    if _is_mtx_folder(path):
        return path
    for folder in (path, path / "outs"):
        if not (folder / "spatial").is_dir():
            found = (one for name in _MATRICES for one in sorted(folder.glob(name)))
            if matrix := next((one for one in found if one.is_file() or _is_mtx_folder(one)), None):
                return matrix
    return None


def _is_mtx_folder(path: Path) -> bool:
    return any((path / f"matrix.mtx{end}").is_file() for end in ("", ".gz"))


def _starts_as_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(HDF5_MAGIC)) == HDF5_MAGIC


def _read_tenx(path: Path, labels: LabelTable | None, on_progress: ProgressCallback) -> AnnData:
    if labels is None:
        raise _missing_labels(path)
    on_progress(Progress(_STAGE, 0, 1))
    matrix = read_matrix(path, path.parent, None, on_progress)
    genes = matrix.genes_only()
    n_others = len(matrix.features) - len(genes.features)
    adata = AnnData(genes.counts, obs=pd.DataFrame(index=genes.barcodes))
    adata.var = genes.features.astype({"feature_types": "category"})
    if n_others:
        features, were = count(n_others, "feature"), agreeing(n_others, "were")
        add_notes(adata, [f"{features} of the reference other than genes {were} left out."])
    on_progress(Progress(_STAGE, 1, 1))
    return adata


