"""Check that a release can be made: build the package, install it into a clean environment and run it there.

Exits with code 1 if a check fails. What is still open before a release, such as its date, is only listed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Callable, Iterator
from email import message_from_string
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
#: A domain that can never exist (RFC 2606): it marks the address of the repository as not known yet.
PLACEHOLDER = ".invalid/"
XVFB = ("xvfb-run", "--auto-servernum", "--server-args=-screen 0 1920x1200x24")


class Failed(Exception):
    """A check that did not pass; the message says what was expected and what was found."""


def main() -> int:
    with TemporaryDirectory(prefix="release-check-") as name:
        failed = run_checks(Path(name))
    report("Open before a release", list(open_points(ROOT)))
    report("Failed", failed)
    return 1 if failed else 0


def run_checks(folder: Path) -> list[str]:
    """Run every check that can run, and return what failed."""
    try:
        step("Build wheel and sdist", lambda: build(folder))
    except Failed as error:
        return [str(error)]
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    checks: dict[str, Callable[[], object]] = {
        "Check the metadata": lambda: check_metadata(wheel, sdist),
        "Check the long description": lambda: check_description(description_of(wheel), ROOT),
        "Install and run it in a clean environment": lambda: check_installed(wheel, folder),
    }
    failed = []
    for title, check in checks.items():
        try:
            step(title, check)
        except Failed as error:
            failed.append(f"{title}: {error}")
    return failed


def step(title: str, action: Callable[[], object]) -> None:
    print(f"{title} …", flush=True)
    action()


def report(title: str, lines: list[str]) -> None:
    if lines:
        print("\n".join([f"\n{title}:", *(f"  - {line}" for line in lines)]), flush=True)


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Run a command without the settings of this environment's Python."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    if done.returncode:
        words = " ".join(str(part) for part in command)
        raise Failed(f"`{words}` exited with code {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")


def build(folder: Path) -> None:
    run(sys.executable, "-m", "build", "--outdir", folder)


def check_metadata(wheel: Path, sdist: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = {"README.md", "CHANGELOG.md", "LICENSE", "CITATION.cff", "napari.yaml"} - names
    if missing:
        raise Failed(f"the sdist lacks {', '.join(sorted(missing))}")


# The long description


def description_of(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_string(archive.read(name).decode("utf-8"))
    return str(metadata.get_payload())


class Targets(HTMLParser):
    """Collects what links and pictures lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("href", "src") and value]


def check_description(text: str, root: Path) -> None:
    """Raise `Failed` unless a package index can render the text and every link in it leads somewhere."""
    from readme_renderer import markdown

    html = markdown.render(text)
    if not html:
        raise Failed("a package index cannot render the long description")
    targets = Targets()
    targets.feed(html)
    elsewhere = re.compile(r"\w+://|#")  # the headings of the page itself are there too
    problems = [f"{target} is relative" for target in targets.found if not elsewhere.match(target)]
    within = [
        match[1] for target in targets.found if (match := re.search(r"/(?:raw|blob)/[^/]+/([^#]+)", target))
    ]
    problems += [f"{path} is not in the repository" for path in within if not (root / path).exists()]
    if not any(target.endswith(".png") for target in targets.found):
        problems.append("there is no picture")
    if problems:
        raise Failed("; ".join(problems))


# A clean environment


def check_installed(wheel: Path, folder: Path) -> None:
    home = folder / "environment"
    venv.create(home, with_pip=True)
    programs = home / ("Scripts" if os.name == "nt" else "bin")
    run(
        programs / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        f"napari-spotmix[all] @ {wheel.as_uri()}",
        cwd=folder,
    )
    run(programs / "npe2", "validate", "napari-spotmix", cwd=folder)
    picture = folder / "demo.png"
    run(*in_a_display(), programs / "spotmix", "demo", "--screenshot", picture, cwd=folder)
    check_picture(picture)


def in_a_display() -> tuple[str, ...]:
    shown = (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform in ("darwin", "win32")
    )
    if not shown and shutil.which(XVFB[0]) is None:
        raise Failed("there is no display and no xvfb-run; run .ci/system-packages")
    return () if shown else XVFB


def check_picture(path: Path) -> None:
    """Raise `Failed` unless the picture shows something: many colors, none of them on most of it."""
    from PIL import Image

    if not path.is_file():
        raise Failed("the demo wrote no picture")
    with Image.open(path) as image:
        pixels = image.width * image.height
        colors = image.convert("RGB").getcolors(pixels) or []
    largest = max((number for number, _ in colors), default=pixels)
    if len(colors) < 1000 or largest > 0.6 * pixels:
        raise Failed(
            f"the picture of the demo looks empty: {len(colors)} colors, {largest / pixels:.0%} are one"
        )


# What is open


def open_points(root: Path) -> Iterator[str]:
    """Yield what a person has still to do before a release."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = project["version"]
    if PLACEHOLDER in project["urls"]["Source"]:
        yield f"pyproject.toml: put the repository's address in place of {project['urls']['Source']}"
    yield from open_in_citation((root / "CITATION.cff").read_text(encoding="utf-8"), version)
    yield from open_in_changelog((root / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    yield from open_in_git(root, version)


def open_in_citation(text: str, version: str) -> Iterator[str]:
    fields = dict(re.findall(r"^([\w-]+): *(.*)$", text, re.MULTILINE))
    if fields.get("version", "").strip("'\"") != version:
        yield f"CITATION.cff: version is {fields.get('version')}, but {version} in pyproject.toml"
    yield from (
        f"CITATION.cff: {name} is missing"
        for name in ("date-released", "repository-code")
        if name not in fields
    )


def open_in_changelog(text: str, version: str) -> Iterator[str]:
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    bodies = {section.partition("\n")[0].strip(): section.partition("\n")[2].strip() for section in sections}
    if bodies.get("[Unreleased]"):
        yield f"CHANGELOG.md: [Unreleased] has entries; move them under [{version}], or raise the version"
    heading = next((heading for heading in bodies if heading.startswith(f"[{version}]")), None)
    if heading is None:
        yield f"CHANGELOG.md: there is no section [{version}]"
    elif not re.search(r"\d{4}-\d{2}-\d{2}", heading):
        yield f"CHANGELOG.md: [{version}] has no date (## [{version}] - YYYY-MM-DD)"


def open_in_git(root: Path, version: str) -> Iterator[str]:
    if shutil.which("git") is None or not (root / ".git").exists():
        yield "git: this is no clone, so nothing can be said about changes and tags"
        return
    if asked(root, "status", "--porcelain"):
        yield "git: there are changes that are not committed"
    if f"v{version}" not in asked(root, "tag", "--points-at", "HEAD").split():
        yield f"git: tag this commit v{version}, since the links of the long description lead there"


def asked(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
