from collections.abc import Callable
from pathlib import Path

import links


def test_links_lead_to_files_and_headings(
    plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    plant("docs/there.md", "# Title\n\n## The fast path\n")
    plant(
        "README.md",
        "[a](docs/there.md) [b](docs/there.md#the-fast-path) [c](https://x.org/) `[d](no)`\n",
    )
    assert list(links.find(tmp_path)) == []

    plant("README.md", "[a](docs/gone.md) [b](docs/there.md#the-slow-path)\n")
    assert list(links.find(tmp_path)) == [
        "README.md: no file behind the link `docs/gone.md`",
        "README.md: no heading behind the link `docs/there.md#the-slow-path`",
    ]
