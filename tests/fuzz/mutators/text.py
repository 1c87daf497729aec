"""Changes of tables and other text, of JSON and of TOML."""

from __future__ import annotations

import gzip
import json
import random
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import tomli_w

from tests.fuzz.mutators.raw import RAW, rewrap
from tests.fuzz.values import changed_tree, json_value, text

__all__ = ["JSON", "TABLE", "TOML"]


def _edited(path: Path, change: Callable[[str], str]) -> None:
    """Change the text of a file, which may be compressed."""
    content = path.read_bytes()
    is_packed = content.startswith(b"\x1f\x8b")
    plain = gzip.decompress(content) if is_packed else content
    changed = change(plain.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    path.write_bytes(gzip.compress(changed) if is_packed else changed)


def cell(path: Path, moments: random.Random) -> None:
    """Replace one cell, most often one in the first lines."""

    def change(content: str) -> str:
        cells = list(re.finditer(r"[^,;\t\r\n ]+", content))
        if not cells:
            return text(moments)
        chosen = moments.choice(cells[:30] if moments.random() < 0.5 else cells)
        return content[: chosen.start()] + text(moments) + content[chosen.end() :]

    _edited(path, change)


def column(path: Path, moments: random.Random) -> None:
    """Replace, remove or double a whole column, or its values below the header."""

    def change(content: str) -> str:
        lines = content.split("\n")
        mark = max(",\t ;", key=lines[0].count)
        at, how, value = moments.randrange(lines[0].count(mark) + 1), moments.randrange(4), text(moments)
        for row, line in enumerate(lines):
            cells = line.split(mark)
            if at >= len(cells):
                continue
            if how == 0:
                del cells[at]
            elif how == 1:
                cells.insert(at, cells[at])
            elif row or how == 2:
                cells[at] = value
            lines[row] = mark.join(cells)
        return "\n".join(lines)

    _edited(path, change)


def lines(path: Path, moments: random.Random) -> None:
    """Remove, double, shuffle or empty lines."""

    def change(content: str) -> str:
        found = content.split("\n")
        at = moments.randrange(len(found))
        kinds: tuple[Callable[[], list[str]], ...] = (
            lambda: found[:at] + found[at + 1 :],
            lambda: found[: at + 1] + found[at:],
            lambda: found[:at],
            lambda: found[at:],
            lambda: found[:1],
            lambda: found[1:],
            lambda: [*found[:at], "", *found[at:]],
            lambda: moments.sample(found, len(found)),
            lambda: found[:at] + [found[at]] * 3000 + found[at:],
            lambda: [*found[:at], found[at] * 50, *found[at + 1 :]],
            lambda: [line[: moments.randrange(len(line) + 1)] for line in found],
        )
        return "\n".join(moments.choice(kinds)())

    _edited(path, change)


def spelling(path: Path, moments: random.Random) -> None:
    """Write the same text otherwise: other separators, quotes, ends of lines, encodings."""
    content = path.read_bytes()
    kinds = (
        *(
            content.replace(b",", b";"),
            content.replace(b",", b"\t"),
            content.replace(b"\t", b","),
            content.upper(),
        ),
        *(content.replace(b"\n", b"\r\n"), content.replace(b"\n", b"\r"), content.replace(b"\n", b"\n\n")),
        *(content.replace(b".", b","), content.replace(b"1", b'"1"'), content.replace(b",", b" , ")),
        *(b"\xef\xbb\xbf" + content, b"# note\n" + content, b"\n" + content, content.replace(b"0", b"")),
        *(content.decode("latin-1").encode("utf-16"), content.replace(b"e", b"\xe9"), content.rstrip(b"\n")),
        *(content.replace(b",", b",,"), content.replace(b"\n", b",\n"), content.replace(b"\n", b"\0\n", 3)),
    )
    path.write_bytes(moments.choice(kinds))


def header(path: Path, moments: random.Random) -> None:
    """Change the numbers in the first lines, where formats state their sizes."""

    def change(content: str) -> str:
        head, tail = content[:200], content[200:]
        numbers = list(re.finditer(r"\d+", head))
        if not numbers:
            return text(moments) + content
        chosen = moments.choice(numbers)
        value = moments.choice(
            ("0", "-1", "1", "2147483648", "9" * 12, "9" * 30, "1e9", "", "x", "1000000000")
        )
        return head[: chosen.start()] + value + head[chosen.end() :] + tail

    _edited(path, change)


def tree(path: Path, moments: random.Random) -> None:
    """Change a node of JSON."""
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps(changed_tree(content, moments)), encoding="utf-8")


def json_text(path: Path, moments: random.Random) -> None:
    """Change how JSON is written."""
    content = path.read_text(encoding="utf-8")
    number = re.search(r"-?\d+(\.\d+)?", content)
    kinds = (
        *(
            "[" * 100_000,
            '{"a":' * 100_000,
            content + content,
            content + "//",
            "\ufeff" + content,
            "[" + content + "]",
        ),
        *(
            content.replace('"', "'"),
            content.replace(":", ":NaN,", 1),
            "{" + content[1:].replace("{", '{"a":1,"a":2,', 1),
        ),
        *(
            content[:at]
            + moments.choice(
                ("1" + "0" * 400, "1e400", "-1e400", "1" * 5000, "00", "1.", "\\u0000", "\\ud800")
            )
            + content[end:]
            for at, end in [number.span() if number else (0, 0)]
        ),
        json.dumps(json_value(moments)),
    )
    path.write_text(moments.choice(kinds), encoding="utf-8")


def toml_tree(path: Path, moments: random.Random) -> None:
    """Change a node of TOML."""
    content = changed_tree(tomllib.loads(path.read_text(encoding="utf-8")), moments)
    path.write_text(tomli_w.dumps(_without_none(content)), encoding="utf-8")


def _without_none(value: object) -> dict:  # type: ignore[type-arg]
    """Return what TOML can hold."""

    def plain(one: object) -> object:
        if isinstance(one, dict):
            return {str(key): plain(inner) for key, inner in one.items() if inner is not None}
        return [plain(inner) for inner in one if inner is not None] if isinstance(one, list) else one

    found = plain(value)
    return found if isinstance(found, dict) else {"a": found}


def toml_text(path: Path, moments: random.Random) -> None:
    """Change the text of TOML: values of other kinds, tables twice, arrays within each other."""
    content = path.read_text(encoding="utf-8")
    found = list(re.finditer(r"= (.+)", content))
    chosen = moments.choice(found)
    value = moments.choice(
        (
            "1e400",
            "-nan",
            "inf",
            "9" * 400,
            "[" * 200,
            "[" * 3000 + "]" * 3000,
            "1979-05-27T07:32:00Z",
            "07:32:00",
            "{a = {b = 1}}",
            "'''x",
            '"\\u0000"',
            '"\\U0010FFFF"',
            "0xFF",
            "[[1], ['a']]",
            "true",
            '"' + "x" * 5000 + '"',
        )
    )
    kinds = (
        content[: chosen.start(1)] + value + content[chosen.end(1) :],
        content + content,
        content + "\n[a]\n[a]\n",
    )
    path.write_text(moments.choice((kinds[0], *kinds)), encoding="utf-8")


TABLE = (cell, cell, cell, column, column, lines, lines, spelling, header, header, rewrap, *RAW)
JSON = (tree, tree, tree, tree, json_text, json_text, *RAW)
TOML = (toml_tree, toml_tree, toml_tree, toml_text, toml_text, *RAW)
