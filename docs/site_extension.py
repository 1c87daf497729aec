"""What the site needs beyond Sphinx: navigation and API from what is there already, and files in place."""

from __future__ import annotations

import inspect
import posixpath
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx

import napari_spotmix

API = "docs/reference/api"
START = "docs/README"
#: A line that starts a group of pages, and one that names a page.
CAPTION = re.compile(r"\*\*(.+?)\*\*")
ENTRY = re.compile(r"- \[.+?\]\(([^)#]+)\.md\)")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", add_generated_parts)
    app.connect("autodoc-process-signature", readable_defaults)
    app.connect("autodoc-process-docstring", list_references)
    app.connect("doctree-read", link_files_in_place, priority=400)  # before Sphinx makes downloads of them
    app.connect("build-finished", finish)
    app.add_lexer("csv", TextLexer)
    return {"parallel_read_safe": False}


def add_generated_parts(app: Sphinx, docname: str, source: list[str]) -> None:
    """Add to a page what a code forge would only show as clutter."""
    root = Path(app.srcdir)
    if docname == app.config.root_doc:
        source[0] += toctree(None, [START]) + navigation(root, START)
    elif re.fullmatch("docs/.+/README", docname):
        source[0] += navigation(root, docname)
    elif docname == API:
        source[0] += api()


# Navigation


def navigation(root: Path, docname: str) -> str:
    return "".join(toctree(*group) for group in groups(root, docname))


def groups(root: Path, docname: str) -> Iterator[tuple[str | None, list[str]]]:
    """Yield caption and pages of each list in a page of links: the order there is that of the navigation."""
    found: list[tuple[str | None, list[str]]] = [(None, [])]
    folder = PurePosixPath(docname).parent
    for line in (root / f"{docname}.md").read_text(encoding="utf-8").splitlines():
        if caption := CAPTION.match(line):
            found.append((caption[1], []))
        elif entry := ENTRY.match(line):
            found[-1][1].append(posixpath.normpath(folder / entry[1]))
    yield from (group for group in found if group[1])


def toctree(caption: str | None, pages: list[str]) -> str:
    options = ":hidden:\n" + (f":caption: {caption}\n" if caption else "")
    entries = "\n".join(f"/{page}" for page in pages)
    return f"\n\n```{{toctree}}\n{options}\n{entries}\n```\n"


# API


def api() -> str:
    """Return a section for each kind of public name, in the order of `napari_spotmix.__all__`."""
    public = {name: getattr(napari_spotmix, name) for name in napari_spotmix.__all__}
    kinds = {name: kind_of(value) for name, value in public.items()}
    sections = ("Functions", "Classes", "Errors", "Constants")
    return "".join(
        section(kind, [name for name in public if kinds[name] == kind])
        for kind in sections
        if kind in kinds.values()
    )


def kind_of(value: object) -> str:
    if not inspect.isclass(value):
        return "Functions" if callable(value) else "Constants"
    return "Errors" if issubclass(value, BaseException) else "Classes"


DIRECTIVES = {
    "Functions": ".. autofunction:: napari_spotmix.{}",
    "Classes": ".. autoclass:: napari_spotmix.{}\n   :members:",
    "Errors": ".. autoexception:: napari_spotmix.{}\n   :members:\n   :show-inheritance:",
    "Constants": ".. autodata:: napari_spotmix.{}",
}


def section(kind: str, names: list[str]) -> str:
    entries = "\n\n".join(DIRECTIVES[kind].format(name) for name in names)
    return f"\n\n## {kind}\n\n```{{eval-rst}}\n.. currentmodule:: napari_spotmix\n\n{entries}\n```\n"


def readable_defaults(
    app: Sphinx,
    what: str,
    name: str,
    obj: object,
    options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Show a function that is a default by its name, and what a dataclass creates itself as an ellipsis."""
    if signature is None:
        return None, returns
    return re.sub(r"<function (\w+)[^>]*>", r"\1", signature).replace("<factory>", "…"), returns


def list_references(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Make the footnotes of a docstring a list: those of all docstrings on the page would clash."""
    cited = (re.sub(r"(\[\d+\])_", r"\1", line) for line in lines)
    lines[:] = [re.sub(r"^\.\. \[(\d+)\] ", r"\1. ", line) for line in cited]


# Files


def link_files_in_place(app: Sphinx, doctree: nodes.document) -> None:
    """Link files that are no pages where they are in the repository: a report opens, it is not downloaded."""
    folder = PurePosixPath(app.env.docname).parent
    for node in list(doctree.findall(download_reference)):
        target = unquote(node["reftarget"])
        path = posixpath.normpath(target.lstrip("/") if target.startswith("/") else folder / target)
        if not (Path(app.srcdir) / path).is_file():
            continue
        linked_files(app).add(path)
        address = "../" * len(folder.parts) + path
        node.replace_self(nodes.reference("", "", *node.children, refuri=address, internal=False))


def linked_files(app: Sphinx) -> set[str]:
    if not hasattr(app.env, "spotmix_files"):
        app.env.spotmix_files = set()  # type: ignore[attr-defined]
    return app.env.spotmix_files  # type: ignore[attr-defined, no-any-return]


def finish(app: Sphinx, error: Exception | None) -> None:
    """Copy the files that are linked, and let the site open with its first page."""
    if error is not None:
        return
    out = Path(app.outdir)
    for path in linked_files(app):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(app.srcdir) / path, out / path)
    shutil.copyfile(out / f"{app.config.root_doc}.html", out / "index.html")
