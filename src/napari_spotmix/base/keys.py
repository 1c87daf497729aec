"""Every AnnData slot that is read or written, named once."""

from __future__ import annotations

__all__ = [
    "ADDED",
    "ARRAY_COL",
    "ARRAY_ROW",
    "BIN_SIZE",
    "CELL_TYPE",
    "HIRES",
    "IMAGES",
    "IN_TISSUE",
    "LOWRES",
    "METADATA",
    "MICRONS_PER_PIXEL",
    "NAMES",
    "NOTES",
    "OUTLINES",
    "RAW",
    "RESOLUTIONS",
    "SCALE_FACTORS",
    "SIGNATURES",
    "SPATIAL",
    "SPOT_DIAMETER",
    "added_keys",
    "image_scale",
]

#: ``obsm`` key of the coordinates, (x, y) in full-resolution pixels, and ``uns`` key of the libraries.
SPATIAL = "spatial"
#: Keys of a library in ``uns['spatial']``: images by resolution, scale factors, and what else is known.
IMAGES, SCALE_FACTORS, METADATA = "images", "scalefactors", "metadata"
#: Key of a library: the outlines of its cells, if there are any: vertices and where those of a cell start.
OUTLINES = "outlines"
#: Keys of the images, the finest first.
HIRES, LOWRES = "hires", "lowres"
RESOLUTIONS = (HIRES, LOWRES)
#: Scale factor: diameter of a spot, or side of a bin, in full-resolution pixels.
SPOT_DIAMETER = "spot_diameter_fullres"
#: Scale factor: side of a bin in micrometers.
BIN_SIZE = "bin_size_um"
#: Scale factor: micrometers in a full-resolution pixel.
MICRONS_PER_PIXEL = "microns_per_pixel"
#: ``obs`` columns of spots: row and column in the array, and whether a spot is under tissue (1) or not (0).
ARRAY_ROW, ARRAY_COL, IN_TISSUE = "array_row", "array_col", "in_tissue"
#: Default ``obs`` column of the reference that holds the labels.
CELL_TYPE = "cell_type"
#: What `layer` is called for the counts of ``raw``, unless there is a layer of that name.
RAW = "raw"
#: ``uns`` key, true in a reference without cells: each of its rows is the mean expression of a type.
SIGNATURES = "spotmix_signatures"
#: ``uns`` key of the notes of the reader, and of the names that a file cannot hold.
NOTES, NAMES = "spotmix_notes", "spotmix_names"
#: Default prefix of everything that a result adds.
ADDED = "spotmix"


def image_scale(resolution: str) -> str:
    """Return the scale factor of an image: its pixels in one full-resolution pixel.

    Examples
    --------
    >>> image_scale("hires")
    'tissue_hires_scalef'
    """
    return f"tissue_{resolution}_scalef"


def added_keys(key_added: str = ADDED) -> dict[str, str]:
    """Return the slots that a result writes, by role.

    ==================  ========  ===================================================
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
        "intervals": f"{key_added}_intervals",
        "misfit": f"{key_added}_misfit",
        "residual_genes": f"{key_added}_residual_genes",
        "dominant": f"{key_added}_dominant",
        "colors": f"{key_added}_dominant_colors",
        "palette": f"{key_added}_palette",
        "unexplained": f"{key_added}_unexplained",
        "counts": f"{key_added}_counts",
        "reason": f"{key_added}_reason",
        "graph": f"{key_added}_connectivities",
        "attention": f"{key_added}_attention",
        "regions": f"{key_added}_regions",
        "region": f"{key_added}_region",
        "region_comparison": f"{key_added}_region_comparison",
        "niche": f"{key_added}_niche",
        "niche_colors": f"{key_added}_niche_colors",
        "niche_composition": f"{key_added}_niche_composition",
        "view": f"{key_added}_view",
        "parameters": key_added,
    }
