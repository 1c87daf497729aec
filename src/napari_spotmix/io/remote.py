"""Inputs by URL: fetched to this machine, completely or not at all, and cached for the next time."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from napari_spotmix.base.errors import Cancelled, InputError
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.urls import check_url, is_url, shown_url
from napari_spotmix.io.atomic import is_disk_full, staging_folder, why_not_written

__all__ = ["CACHE_VARIABLE", "cache_folder", "fetched", "is_url", "local_path", "path_or_url", "shown_url"]

#: Environment variable with the folder in which fetched files are cached.
CACHE_VARIABLE = "SPOTMIX_CACHE"
_WEB = {"http", "https"}
#: The files of a Space Ranger run that are read; a run has many others.
_OF_SPACE_RANGER = re.compile(r"(^|/)(spatial/|[^/]*feature_bc_matrix(\.h5$|/))")


def path_or_url(text: str) -> Path | str:
    """Return a URL as it is, and any other text as a path.

    Examples
    --------
    >>> path_or_url("https://example.org/cells.h5ad")
    'https://example.org/cells.h5ad'
    """
    return text if is_url(text) else Path(text)


def cache_folder() -> Path:
    """Return the folder in which fetched files are cached; it need not exist.

    It is set by the environment variable ``SPOTMIX_CACHE``; the default is the user's cache of the system.
    """
    import platformdirs

    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else platformdirs.user_cache_path("napari-spotmix", appauthor=False)


def fetched(url: str, *, on_progress: ProgressCallback = silent) -> Path:
    """Return a copy of a remote file or folder on this machine, fetched unless it is cached.

    Parameters
    ----------
    url : str
        One of `base.urls.PROTOCOLS`; chains like ``zip::`` are refused. Through ``http(s)`` only files, not
        folders. From a Space Ranger run, only the files that are read are fetched.
    on_progress : callable, optional
        Called for every block of bytes; raises `Cancelled` to stop.

    Returns
    -------
    Path
        In `cache_folder`, named as the last part of the URL. If the server reports that a file has changed,
        it is fetched again.

    Raises
    ------
    InputError
        If its protocol is not allowed, it cannot be fetched or stored, or a package for the protocol is
        missing; no file is kept then.

    Examples
    --------
    >>> fetched("nonsense://example.org/cells.h5ad")
    Traceback (most recent call last):
    napari_spotmix.base.errors.InputError: 'nonsense://example.org/cells.h5ad' must be one URL ...
    """
    url = check_url(url)  # before fsspec sees it
    with _reported(url):
        from fsspec.core import url_to_fs

        system, inside = url_to_fs(url)
        if "file" in _protocols(system):
            return Path(inside)
        files, version = _files_and_version(system, inside)
        target = cache_folder() / _key(shown_url(url)) / version / _last_part(url)
        if not target.parent.exists():
            stage = f"Fetching {_last_part(url)}"
            _fetch(system, files, target, lambda n, of: on_progress(Progress(stage, n, of)))
        return target


def local_path(given: str | os.PathLike[str], *, on_progress: ProgressCallback = silent) -> Path:
    """Return a path as it is, and for a URL the path of its copy (see `fetched`)."""
    return fetched(str(given), on_progress=on_progress) if is_url(given) else Path(given)


def _protocols(system: Any) -> set[str]:
    return {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)


def _last_part(url: str) -> str:
    """Return the name of the file or folder, valid on any system."""
    name = unquote(PurePosixPath(urlsplit(url).path or urlsplit(url).netloc).name)
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name).strip(". ")[-150:] or "input"


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _files_and_version(system: Any, inside: str) -> tuple[dict[str, Mapping[str, Any]], str]:
    """Return the files to fetch, with their fsspec info by path in the copy, and a key of their version."""
    about = system.info(inside)
    if _protocols(system) & _WEB or about["type"] != "directory":
        files = {"": about}
    else:
        found = system.find(inside, detail=True)
        files = _wanted({_below(name, inside): about for name, about in sorted(found.items())})
    if not files:
        raise FileNotFoundError(inside)
    return files, _key(json.dumps({name: _version(about) for name, about in files.items()}, sort_keys=True))


def _below(name: str, folder: str) -> str:
    below = PurePosixPath(name).relative_to(PurePosixPath(folder))
    if ".." in re.split(r"[/\\]", str(below)):
        raise ValueError(f"holds a file named {name!r}")
    return below.as_posix()


def _wanted(files: dict[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    of_a_run = {name: about for name, about in files.items() if _OF_SPACE_RANGER.search(name)}
    return of_a_run or files


def _version(about: Mapping[str, Any]) -> dict[str, str]:
    """Return the server's information that changes when the file changes."""
    return {key: str(value) for key, value in about.items() if "type" not in key}


def _fetch(
    system: Any, files: Mapping[str, Mapping[str, Any]], target: Path, report: Callable[[int, int], None]
) -> None:
    """Fetch all files into a staging folder and move it to the folder of `target`."""
    folder = target.parent
    total = sum(about.get("size") or 0 for about in files.values())
    with _stored(folder), staging_folder(folder.parent) as stage:
        copy, done = stage / folder.name, 0
        report(done, total)
        for name, about in files.items():
            path = copy / target.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(about["name"], str(path), callback=_counting(done, total, report))
            done += path.stat().st_size
        folder.parent.mkdir(parents=True, exist_ok=True)
        _move_unless_exists(copy, folder)


@contextmanager
def _stored(folder: Path) -> Iterator[None]:
    """Raise a failure to write into the cache as an InputError; the network is not to blame for it."""
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise InputError(
            f"The copy could not be stored in {cache_folder()} ({why_not_written(error)}). Free space there, "
            f"or name another folder by {CACHE_VARIABLE}."
        ) from error


def _move_unless_exists(copy: Path, folder: Path) -> None:
    """Move the copy into the cache, unless another process was faster."""
    try:
        copy.rename(folder)
    except OSError:
        if not folder.exists():
            raise


def _counting(before: int, total: int, report: Callable[[int, int], None]) -> Any:
    """Return a callback for fsspec that reports the number of bytes fetched."""
    from fsspec.callbacks import Callback

    class Counting(Callback):  # type: ignore[misc]
        def call(self, *_: Any, **__: Any) -> None:
            report(before + self.value, total)

    return Counting()


@contextmanager
def _reported(url: str) -> Iterator[None]:
    """Raise any exception of the block as an InputError about the URL; fsspec raises almost any exception."""
    try:
        yield
    except (InputError, Cancelled):
        raise
    except Exception as error:
        raise InputError(f"{shown_url(url)}: {_reason(url, error)}") from error


def _reason(url: str, error: BaseException) -> str:
    protocol = url.partition("://")[0].lower()
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and cause is not None and getattr(cause, "status", 0) != 404:
        error = cause  # fsspec reports every failure of http as a missing file
    words = " ".join(str(error).replace(url, shown_url(url)).split())[:200] or type(error).__name__
    if isinstance(error, ImportError):
        package = f"fsspec[{_extra(protocol)}]"
        return f'`{protocol}://` needs another package. Install it with `pip install "{package}"`.'
    if isinstance(error, FileNotFoundError):
        return "the file was not found. Check the spelling of the address."
    if isinstance(error, PermissionError):
        return f"cannot be read ({words}). Check your credentials."
    return f"could not be fetched ({words}). Check the address and the network, then run again."


def _extra(protocol: str) -> str:
    return "http" if protocol in _WEB else protocol
