"""What libraries log of a damaged file is not printed: the error that follows says it."""

from __future__ import annotations

import logging
from functools import cache

__all__ = ["quiet_libraries"]


@cache
def quiet_libraries() -> None:
    """Keep Python from printing what these libraries log; a program that collects its logs still gets it."""
    for name in ("imagecodecs", "tifffile"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    logging.getLogger("asyncio").addFilter(_is_of_others)


def _is_of_others(record: logging.LogRecord) -> bool:
    """Return whether a record is not about a task of Zarr that failed after another one had failed."""
    words = record.getMessage()
    return "exception was never retrieved" not in words or "zarr" not in words
