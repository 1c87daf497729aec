"""Addresses of inputs: which texts are URLs, and which of them may be fetched.

fsspec can do more with a URL than fetch a file: ``reference::`` renders templates, ``zip::`` and
``simplecache::`` chain several systems, ``ssh://`` and ``github://`` open connections of their own. A
samplesheet or a recipe from somebody else may hold such a text, so only the protocols below reach fsspec.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.text import quoted

__all__ = ["PROTOCOLS", "check_url", "is_url", "shown_url", "url_problem"]

#: What may be fetched: web servers, the three large clouds, and files of this machine.
PROTOCOLS = ("https", "http", "s3", "gs", "az", "abfs", "file")

#: At least two letters: `C://` is a drive. A chain ("zip::s3://") is a URL too, and is refused.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]+://")


def is_url(given: object) -> bool:
    """Return whether an input is a URL; a Windows path is not.

    Examples
    --------
    >>> is_url("s3://bucket/outs"), is_url("zip::s3://bucket/a.zip"), is_url("C:/data/outs")
    (True, True, False)
    """
    return isinstance(given, str) and _URL.match(given) is not None


def url_problem(url: str) -> str | None:
    """Return why a URL may not be fetched; None if it may.

    Examples
    --------
    >>> url_problem("https://example.org/cells.h5ad")
    >>> url_problem("reference::https://example.org/a.json").partition(" that")[0]
    "'reference::https://example.org/a.json' must be one URL"
    """
    protocol = url.partition("://")[0].lower()
    if protocol in PROTOCOLS and "::" not in url:
        return None
    known = ", ".join(f"{name}://" for name in PROTOCOLS[:-1])
    return (
        f"{quoted(shown_url(url))} must be one URL that begins with {known} or {PROTOCOLS[-1]}://, without "
        "`::` in it. Nothing was fetched."
    )


def check_url(url: str) -> str:
    """Return a URL that may be fetched, its protocol in lower case.

    Raises
    ------
    InputError
        If it may not (`url_problem`).

    Examples
    --------
    >>> check_url("HTTPS://example.org/A.h5ad")
    'https://example.org/A.h5ad'
    """
    if problem := url_problem(url):
        raise InputError(problem)
    protocol, between, rest = url.partition("://")
    return protocol.lower() + between + rest


def shown_url(url: str) -> str:
    """Return a URL without its user name and password, to show and to store.

    Examples
    --------
    >>> shown_url("https://me:secret@example.org/cells.h5ad?download=1")
    'https://example.org/cells.h5ad?download=1'
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that are no IPv6 address
        return re.sub(r"//[^/@]*@", "//", url)
    if "@" in parts.netloc:
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return re.sub(r"//[^/@]*@", "//", url) if "::" in url else url
