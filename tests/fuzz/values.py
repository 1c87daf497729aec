"""Values that files of strangers hold."""

from __future__ import annotations

import random
from typing import Any

__all__ = ["TEXTS", "changed_tree", "json_value", "text"]

#: Cells of a table, names and numbers as text.
TEXTS = (
    *(
        "",
        " ",
        "0",
        "-0",
        "-1",
        "1.5",
        "nan",
        "NaN",
        "NA",
        "inf",
        "-inf",
        "1e400",
        "1e308",
        "1e-400",
        "1e999999999",
    ),
    *("true", "null", "None", "[]", "{}", "0x10", "1_000", "1,5", "1;5", "1 2", "1\t2", "--", ".", "+", "%"),
    *("99999999999999999999", "9223372036854775808", "-9223372036854775809", "18446744073709551616"),
    *(
        "4294967296",
        "2147483648",
        "9" * 400,
        "9" * 5000,
        "x" * 5000,
        "\u00e9",
        "\u202e",
        "\ufeff",
        "\u0661\u0662",
    ),
    *(
        "\x00",
        "a\x00b",
        "\x1b[31m",
        '"',
        '""',
        "'",
        '"open',
        "=1+1",
        "#",
        "\r",
        "\n",
        "\\",
        "a/b",
        "..",
        "../../etc",
    ),
    *(
        "/",
        "/dev/zero",
        "/dev/null",
        "/proc/self/mem",
        "simplecache::file:///etc/passwd",
        "memory://a",
        "~",
        "$HOME",
    ),
    *("\ud800", "1970-01-01", "1e5f", "(1+2j)", "%s%n", "{0}", "<b>", "a" * 300, "nan,nan"),
)


def text(moments: random.Random) -> str:
    """Return a text; one that cannot be encoded becomes one that can."""
    return moments.choice(TEXTS).encode("utf-8", "replace").decode()


def json_value(moments: random.Random, depth: int = 0) -> Any:
    """Return a value of JSON of any kind; never a float that JSON cannot hold in 400 digits."""
    plain: tuple[Any, ...] = (
        *(None, True, False, 0, -1, 1, 0.5, -0.0, 10**400, -(10**400), 10**5000, 2**63, 2**31, 1e308, 5e-324),
        *(float("nan"), float("inf"), float("-inf"), [], {}, "", [[]], [None], {"a": None}, "x" * 5000),
    )
    kind = moments.randrange(5)
    if kind == 0 and depth < 3:
        return [json_value(moments, depth + 1) for _ in range(moments.randrange(4))]
    if kind == 1 and depth < 3:
        return {text(moments): json_value(moments, depth + 1) for _ in range(moments.randrange(4))}
    return text(moments) if kind == 2 else moments.choice(plain)


def _holders(tree: Any) -> list[tuple[Any, Any]]:
    """Return each list and dictionary of a tree with each of its keys."""
    found: list[tuple[Any, Any]] = []
    left = [tree]
    while left:
        one = left.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else []
        found += [(one, key) for key in keys]
        left += [one[key] for key in keys]
    return found


def changed_tree(tree: Any, moments: random.Random) -> Any:
    """Return a tree of JSON or TOML of which one node was replaced, removed, doubled, wrapped or renamed."""
    holders = _holders(tree)
    if not holders or moments.random() < 0.03:
        return json_value(moments)
    holder, key = moments.choice(holders)
    how = moments.randrange(8)
    if how == 0:
        del holder[key]
    elif how == 1:
        holder[key] = [holder[key]]
    elif how == 2:
        holder[key] = {text(moments): holder[key]}
    elif how == 3:
        holder[key] = str(holder[key])
    elif how == 4 and isinstance(holder, dict):
        holder[text(moments)] = holder.pop(key)
    elif how == 4:
        holder.append(holder[key])
    elif how == 5:
        other, its_key = moments.choice(holders)
        holder[key] = (
            "of another" if other is holder else str(other)[:50] if its_key == key else json_value(moments)
        )
    else:
        holder[key] = json_value(moments)
    return tree
