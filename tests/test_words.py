"""Plain American English in the field's terms: words that no message, label, help text or page may hold."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "napari_spotmix"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *SOURCE.rglob("*.html")])
MODULES = sorted(SOURCE.rglob("*.py"))

#: What is not said, and what is said instead.
BANNED = {
    # Terms of the field.
    r"mend(s|ed|ing)?": "fix",
    r"archetypes?": "composition cluster",
    r"epochs?": "outer iteration",
    r"likeness": "similarity",
    r"foreign": "unmodeled, other",
    r"telling genes|genes that (speak|tell)|speaks? for": "supporting genes",
    r"variation of cells": "within-type variability",
    r"most sweeps": "maximum sweeps",
    r"housekeeping genes? are left out": "mitochondrial and ribosomal genes are left out",
    # What reads as if translated.
    r"(is|are|was|were|be|been|being) told": "is reported",
    r"(tell|tells|told|telling)( \w+)? apart": "distinguish",
    r"tells? (of|that|where|which|whether|what|why|how)": "report, say, show",
    r"looks? into": "inspect",
    r"(lies?|lay|lying) (beside|elsewhere|there|next to)": "is stored, is in the same folder",
    r"nothing keeps": "no problems found",
    r"of this there is": "there is no",
    r"leaves? with (exit )?code": "exits with code",
    r"give it once": "repeat for each",
    r"anew": "again",
    r"as far as": "to the extent that",
    r"that there (is|are) not|there (is|are) none such": "unknown",
    r"nobody": "no one, not",
    r"written aside|write aside": "atomic write",
    r"so it is": "this also holds",
    r"all the same": "anyway",
    r"(?<!')beside": "next to, in the same folder",  # also a class of the report's style
    r"lies?|lay|lying": "is, is stored",
    r"of (its|their) own accord": "automatically",
    r"lets? go|letting go": "disconnect, release, close",
    r"(is|are|was|were|be) heard": "is noticed",
    r"thereby|therein|thereof|whereby|hereby": "so, in it, by which",
    r"stands? (there|already|in (a|the) (file|folder|changelog|recipe))": "is, exists",
    r"as many as there are": "one for each",
    r"(?<!there )(is|are|was|were) no (?!longer|more|less|better|worse|larger|smaller)\w+": "is not a ...",
    r"(that|but|which) are (?-i:none)|if it is (?-i:none)": "that are not ...",
    r"looks? like no": "is not explained by",
    r"(?<!first )looks? at": "inspect, check",
    r"begun": "started",
    r"what (goes on|lies open|was left open)": "the current task, what was left empty",
    r"goes on|go on": "continue",
    r"how sure|(is|are) sure": "how certain, is reliable",
    r"says? nothing of|nothing of (it|them)": "nothing about it",
    r"mostly memory|no words": "most likely memory, no message",
    r"pressed again": "press again to",
    r"once more": "again",
    r"(taken|take|takes) for (a|an|the|exact) (?!section)": "treated as",
    r"left alone|leaves? \w+ alone": "do not change",
    r"of like": "of similar",
    r"but for": "except for",
    r"(is|are|was) there (already|twice|at the run)": "exists, occurs twice, existed",
    r"may not be (read|written|opened)": "cannot be read",
    r"gives? back|given back": "return",
    r"leads nowhere": "does not exist",
    r"drawn to zero": "shrunk toward zero",
    r"stood in for|stands? in for": "captured, replaces",
    r"for nothing|in vain": "without effect",
    # Spelling.
    r"\w*(colour|neighbour|behaviour|favour|tumour|fibre|centre[ds]?|modell|artefact)\w*": "American",
    r"\w*labell(?!\?|edby)\w*": "American",  # not a pattern of both spellings, not an attribute of HTML
    r"\w*(normal|minim|maxim|optim|standard|random)is(e|ed|es|ing|ation)": "American",
    r"\w*(recogn|colocal|summar|organ|initial|general)is(e|ed|es|ing|ation)": "American",
    r"haem\w+|grey|licence|whilst|micrometres?|programme|catalogue": "American",
}
PATTERN = re.compile(rf"\b({'|'.join(BANNED)})\b", re.IGNORECASE)
#: Where old names are listed, since they keep working.
OLD_NAMES = (
    "`--mend`",
    "`sample_key`",
    "`exclude_housekeeping`",
    "`n_archetypes`",
    "`n_epochs`",
    "mend : sequence",
    "`--sample-key`",
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each string of a module, docstrings too: they are pages of the site."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def found_in(text: str) -> list[str]:
    for name in OLD_NAMES:
        text = text.replace(name, "")
    return [match[0] for match in PATTERN.finditer(" ".join(text.split()))]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_message_label_or_help_text_holds_a_banned_word(path: Path) -> None:
    found = {f"{path.name}:{line}": words for line, text in texts(path) if (words := found_in(text))}
    assert not found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_holds_a_banned_word(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    found = {f"{page.name}:{n}": words for n, line in enumerate(lines, 1) if (words := found_in(line))}
    assert not found


def test_each_banned_word_is_found() -> None:
    for words in (
        "It is told.",
        "Mended by --mend",
        "the colour of neighbours",
        "tells them apart",
        "Epochs",
        "It is no table.",
        "The image lies beside the counts",
        "A part, but for the rest",
    ):
        assert found_in(words), words
    for words in (
        "recommended amendments, epochal, told by a user",
        "There is no image, and a name is no longer than ten letters",
        "aria-labelledby",
    ):
        assert not found_in(words), words
