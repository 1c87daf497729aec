"""README as a package index shows it: its links and pictures lead to the repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


class LongDescription(MetadataHookInterface):
    """Fills in ``readme``, with the address in ``[project.urls]`` in front of every relative link."""

    def update(self, metadata: dict[str, Any]) -> None:
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        text = with_absolute_links(readme, metadata["urls"]["Source"], f"v{metadata['version']}")
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def with_absolute_links(text: str, address: str, tag: str) -> str:
    """Return Markdown whose relative links lead to the files of a tag in a repository.

    Examples
    --------
    >>> with_absolute_links("![A map](docs/map.png)", "https://forge.example/spotmix", "v1.0")
    '![A map](https://forge.example/spotmix/raw/v1.0/docs/map.png)'
    >>> with_absolute_links("[Licence](LICENSE)", "https://forge.example/spotmix", "v1.0")
    '[Licence](https://forge.example/spotmix/blob/v1.0/LICENSE)'
    """

    def absolute(link: re.Match[str]) -> str:
        if re.match(r"[a-z]+:", link["target"]):
            return link[0]
        kind = "raw" if link["picture"] else "blob"
        return f"{link['picture']}[{link['text']}]({address}/{kind}/{tag}/{link['target']})"

    return LINK.sub(absolute, text)
