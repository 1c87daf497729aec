"""Every AnnData slot that is read or written, named once."""

from __future__ import annotations

__all__ = ["ADDED", "CELL_TYPE", "RAW", "SIGNATURES", "SPATIAL", "added_keys"]

#: ``obsm`` key of the coordinates, (x, y) in full-resolution pixels, and ``uns`` key of the images.
SPATIAL = "spatial"
#: Default ``obs`` column of the reference that holds the labels.
CELL_TYPE = "cell_type"
#: What `layer` is called for the counts of ``raw``, unless there is a layer of that name.
RAW = "raw"
#: ``uns`` key of a reference without cells, each of whose rows is the mean expression of a type: true there.
SIGNATURES = "spotmix_signatures"
#: Default prefix of everything that a result adds.
ADDED = "spotmix"


def added_keys(key_added: str = ADDED) -> dict[str, str]:
    """Return the slots that a result writes, by role.

    ==================  ========  ==========================================================
    role                slot      content
    ==================  ========  ==========================================================
    proportions         ``obsm``  DataFrame (n_spots, n_cell_types), rows sum to 1 or NaN
    cell_proportions    ``obsm``  the same, of cells: what ``proportions`` are by default
    rna_proportions     ``obsm``  the same, of RNA
    abundances          ``obsm``  DataFrame (n_spots, n_cell_types), >= 0 or NaN
    standard_errors     ``obsm``  DataFrame of float32, of ``proportions``, at most 1
    misfit              ``obs``   float, share that a type missing in the reference would have
    residual_genes      ``uns``   DataFrame (n_genes, 5), genes that the fit does not explain
    dominant            ``obs``   categorical, the type with the largest proportion
    colors              ``uns``   list of hex colors, one per category of ``dominant``
    unexplained         ``obs``   float, share of the counts that the fit leaves over
    counts              ``obs``   float, counts of the spot over the genes that were fitted
    reason              ``obs``   categorical, why a spot was not estimated ("" where it was)
    graph               ``obsp``  sparse (n_spots, n_spots), edge weights W
    attention           ``obsp``  sparse (n_spots, n_spots), attention in them, 0 to 1
    regions             ``uns``   GeoJSON text, outlines that were drawn, if any
    region              ``obs``   categorical, the region that a spot is in, if it was kept
    region_comparison   ``uns``   DataFrame, means of regions and their differences, if kept
    niche               ``obs``   categorical "1", "2" ..., the niche of a spot, if it was kept
    niche_composition   ``uns``   DataFrame (n_cell_types, n_niches), means of niches, if kept
    view                ``uns``   JSON text, what napari showed of it, if it was saved there
    parameters          ``uns``   every parameter given and learned, versions, seed, notes
    ==================  ========  ==========================================================

    Examples
    --------
    >>> added_keys("fit")["dominant"]
    'fit_dominant'
    """
    return {
        "proportions": key_added,
        "cell_proportions": f"{key_added}_cell_proportions",
        "rna_proportions": f"{key_added}_rna_proportions",
        "abundances": f"{key_added}_abundances",
        "standard_errors": f"{key_added}_standard_errors",
        "misfit": f"{key_added}_misfit",
        "residual_genes": f"{key_added}_residual_genes",
        "dominant": f"{key_added}_dominant",
        "colors": f"{key_added}_dominant_colors",
        "unexplained": f"{key_added}_unexplained",
        "counts": f"{key_added}_counts",
        "reason": f"{key_added}_reason",
        "graph": f"{key_added}_connectivities",
        "attention": f"{key_added}_attention",
        "regions": f"{key_added}_regions",
        "region": f"{key_added}_region",
        "region_comparison": f"{key_added}_region_comparison",
        "niche": f"{key_added}_niche",
        "niche_composition": f"{key_added}_niche_composition",
        "view": f"{key_added}_view",
        "parameters": key_added,
    }
