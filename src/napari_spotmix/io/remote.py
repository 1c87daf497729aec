"""Inputs by URL: fetched to this machine, whole or not at all, and kept for the next time."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from napari_spotmix.base.errors import Cancelled, InputError
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.io.atomic import aside as _aside

__all__ = ["CACHE_VARIABLE", "cache_folder", "fetched", "is_url", "on_this_machine", "place", "shown_url"]

#: Environment variable with the folder that fetched files are kept in.
CACHE_VARIABLE = "SPOTMIX_CACHE"
#: Two letters at least: `C://` is a drive.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_WEB = {"http", "https"}
#: What is read of a Space Ranger run, which holds much more.
_OF_SPACE_RANGER = re.compile(r"(^|/)(spatial/|[^/]*feature_bc_matrix(\.h5$|/))")


def is_url(given: object) -> bool:
    """Tell whether an input is given by URL; a Windows path is none.

    Examples
    --------
    >>> is_url("s3://bucket/outs"), is_url("C:/data/outs"), is_url(Path("outs"))
    (True, False, False)
    """
    return isinstance(given, str) and _URL.match(given) is not None


def place(text: str) -> Path | str:
    """Return what a person has typed as a path, or as it is where it is a URL.

    Examples
    --------
    >>> place("https://example.org/cells.h5ad")
    'https://example.org/cells.h5ad'
    """
    return text if is_url(text) else Path(text)


def shown_url(url: str) -> str:
    """Return a URL without the user and the password in it, to be shown and kept.

    Examples
    --------
    >>> shown_url("https://me:secret@example.org/cells.h5ad?download=1")
    'https://example.org/cells.h5ad?download=1'
    """
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else url


def cache_folder() -> Path:
    """Return the folder that fetched files are kept in, which need not exist.

    It is that of the environment variable ``SPOTMIX_CACHE``, else the usual one of the system.
    """
    import platformdirs

    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else platformdirs.user_cache_path("napari-spotmix", appauthor=False)


def fetched(url: str, *, on_progress: ProgressCallback = silent) -> Path:
    """Return a copy of a remote file or folder on this machine, fetched unless it is there already.

    Parameters
    ----------
    url : str
        Any protocol that fsspec knows: ``https://``, ``s3://``, ``gs://``, ``file://`` ... Through
        ``http(s)`` only files, not folders. Of a Space Ranger run what is read of it.
    on_progress : callable, optional
        Told with every piece; raises `Cancelled` to stop.

    Returns
    -------
    Path
        In `cache_folder`, under the last part of the URL. A file that the server says has changed is
        fetched anew.

    Raises
    ------
    InputError
        If it cannot be fetched, or a package for the protocol is missing; nothing is kept then.

    Examples
    --------
    >>> fetched("nonsense://example.org/cells.h5ad")
    Traceback (most recent call last):
    napari_spotmix.base.errors.InputError: nonsense://example.org/cells.h5ad: `nonsense` is no known protocol.
    """
    with _reported(url):
        from fsspec.core import url_to_fs

        system, inside = url_to_fs(url)
        if "file" in _protocols(system):
            return Path(inside)
        files, mark = _contents(system, inside)
        home = cache_folder() / _key(shown_url(url)) / mark
        if not home.exists():
            stage = f"Fetching {_last_part(url)}"
            _fetch(system, files, home / _last_part(url), lambda n, of: on_progress(Progress(stage, n, of)))
        return home / _last_part(url)


def on_this_machine(given: str | os.PathLike[str], *, on_progress: ProgressCallback = silent) -> Path:
    """Return a path as it is, and for a URL the copy that `fetched` returns."""
    return fetched(str(given), on_progress=on_progress) if is_url(given) else Path(given)


def _protocols(system: Any) -> set[str]:
    return {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)


def _last_part(url: str) -> str:
    """Return the name of the file or folder, safe on any system."""
    name = unquote(PurePosixPath(urlsplit(url).path or urlsplit(url).netloc).name)
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name).strip(". ")[-150:] or "input"


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _contents(system: Any, inside: str) -> tuple[dict[str, Mapping[str, Any]], str]:
    """Return what to fetch, by path in the copy with what is known of it, and a mark of this version."""
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
    if ".." in below.parts:
        raise ValueError(f"holds a file called {name!r}")
    return below.as_posix()


def _wanted(files: dict[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    of_a_run = {name: about for name, about in files.items() if _OF_SPACE_RANGER.search(name)}
    return of_a_run or files


def _version(about: Mapping[str, Any]) -> dict[str, str]:
    """Return what changes when a file does, of what the server tells."""
    return {key: str(value) for key, value in about.items() if "type" not in key}


def _fetch(
    system: Any, files: Mapping[str, Mapping[str, Any]], place: Path, tell: Callable[[int, int], None]
) -> None:
    """Fetch all files into a folder beside that of `place` and move it there."""
    home = place.parent
    total = sum(about.get("size") or 0 for about in files.values())
    home.parent.mkdir(parents=True, exist_ok=True)
    with _aside(home.parent) as stage:
        copy, done = stage / home.name, 0
        tell(done, total)
        for name, about in files.items():
            target = copy / place.name / name
            target.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(about["name"], str(target), callback=_counting(done, total, tell))
            done += target.stat().st_size
        _settle(copy, home)


def _settle(copy: Path, home: Path) -> None:
    """Move the copy into place, unless another process was faster."""
    try:
        copy.rename(home)
    except OSError:
        if not home.exists():
            raise


def _counting(before: int, total: int, tell: Callable[[int, int], None]) -> Any:
    """Return what fsspec tells of the bytes that have come."""
    from fsspec.callbacks import Callback

    class Counting(Callback):  # type: ignore[misc]
        def call(self, *_: Any, **__: Any) -> None:
            tell(before + self.value, total)

    return Counting()


@contextmanager
def _reported(url: str) -> Iterator[None]:
    """Raise whatever goes wrong inside as a problem of the URL; libraries raise almost anything here."""
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
        error = cause  # of any failure through http, fsspec says that there is no file
    words = " ".join(str(error).replace(url, shown_url(url)).split())[:200] or type(error).__name__
    if isinstance(error, ImportError):
        package = f"fsspec[{_extra(protocol)}]"
        return f'`{protocol}://` needs a package more. Install it with `pip install "{package}"`.'
    if isinstance(error, FileNotFoundError):
        return "there is no such file. Check the spelling of the address."
    if isinstance(error, PermissionError):
        return f"may not be read ({words}). Check your credentials."
    if isinstance(error, ValueError) and "rotocol" in words:
        return f"`{protocol}` is no known protocol. Use https, s3, gs or another one of fsspec."
    return f"could not be fetched ({words}). Check the address and the network, then run again."


def _extra(protocol: str) -> str:
    return "http" if protocol in _WEB else protocol
