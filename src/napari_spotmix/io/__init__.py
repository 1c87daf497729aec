"""Files to AnnData, and results to files.

Start with ``read_spatial`` and ``read_reference``. ``read_image`` reads an image of the tissue, and
``write_outputs`` writes a result. The formats are listed in ``io.readers.registry``.
"""

from __future__ import annotations

from napari_spotmix.base.cancel import run_cancellable
from napari_spotmix.base.old_names import names_of_before
from napari_spotmix.base.urls import is_url, shown_url
from napari_spotmix.io.atomic import write_atomically, write_folder_atomically
from napari_spotmix.io.libraries import only_section, section_names
from napari_spotmix.io.notes import reading_notes
from napari_spotmix.io.on_disk import close_files, copied, is_closed, is_on_disk, replaced
from napari_spotmix.io.problems import as_read_error, listed
from napari_spotmix.io.read import bin_sizes, choices, read_reference, read_spatial
from napari_spotmix.io.readers.anndata_coordinates import MissingCoordinates
from napari_spotmix.io.readers.detect import detect_format
from napari_spotmix.io.readers.h5ad import label_columns
from napari_spotmix.io.readers.image_overview import spots_outside_image
from napari_spotmix.io.readers.images import IMAGE_SUFFIXES, TissueImage, read_image
from napari_spotmix.io.readers.labels import MissingLabels
from napari_spotmix.io.readers.options import BinSize, Choices, ReadOptions
from napari_spotmix.io.readers.signatures import is_signatures
from napari_spotmix.io.readers.table_parsing import TABLE_SUFFIXES
from napari_spotmix.io.recipe import checksums, files_read, is_large, make_recipe, read_recipe
from napari_spotmix.io.remote import fetched, path_or_url
from napari_spotmix.io.results import (
    OUTPUTS,
    check_complete,
    check_writable,
    output_problems,
    write_h5ad,
    write_outputs,
)
from napari_spotmix.io.safe_names import restored_names, with_safe_names
from napari_spotmix.io.sparse_gate import (
    index_problem,
    layout_problem,
    native,
    pointer_problem,
    signed,
    sparse_damage,
    sparse_problem,
    to_csr,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "OUTPUTS",
    "TABLE_SUFFIXES",
    "BinSize",
    "Choices",
    "MissingCoordinates",
    "MissingLabels",
    "ReadOptions",
    "TissueImage",
    "as_read_error",
    "bin_sizes",
    "check_complete",
    "check_writable",
    "checksums",
    "choices",
    "close_files",
    "copied",
    "detect_format",
    "fetched",
    "files_read",
    "index_problem",
    "is_closed",
    "is_large",
    "is_on_disk",
    "is_signatures",
    "is_url",
    "label_columns",
    "layout_problem",
    "native",
    "listed",
    "make_recipe",
    "only_section",
    "output_problems",
    "path_or_url",
    "pointer_problem",
    "read_image",
    "read_recipe",
    "read_reference",
    "read_spatial",
    "reading_notes",
    "replaced",
    "restored_names",
    "run_cancellable",
    "section_names",
    "shown_url",
    "signed",
    "sparse_damage",
    "sparse_problem",
    "spots_outside_image",
    "to_csr",
    "with_safe_names",
    "write_atomically",
    "write_folder_atomically",
    "write_h5ad",
    "write_outputs",
]

__getattr__ = names_of_before(
    __name__,
    {
        "Reading": "ReadOptions",
        "check_whole": "check_complete",
        "heard": "run_cancellable",
        "sniff": "detect_format",
        "spots_off_image": "spots_outside_image",
        "write_aside": "write_atomically",
        "write_folder_aside": "write_folder_atomically",
    },
)
