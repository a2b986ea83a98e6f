"""Puts the pages of the repository's root onto the site, and links that leave docs/ right.

README.md, CONTRIBUTING.md and CHANGELOG.md are written for a code host. On the site they are pages
like the others; links to files that the site does not have lose their target and keep their text.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the root's pages."""
    for source, page in ROOT_PAGES.items():
        text = (Path(config.docs_dir).parent / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_linked(text, Path(), files)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Correct the links of a page of docs/."""
    if page.file.generated_by is not None:
        return markdown
    return _linked(markdown, Path("docs", page.file.src_uri).parent, files)


def on_page_content(html: str, **kwargs: object) -> str:
    """Leave the default of an option empty where it has none: mkdocs-click prints click's mark."""
    return html.replace("<code>Sentinel.UNSET</code>", "")


def _linked(text: str, folder: Path, files: Files) -> str:
    """`text`, which stands in `folder` of the repository, with links as the site has them."""
    depth = len(folder.parts[1:])

    def replace(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        if "://" in target:
            return match[0]
        path = _normal(folder / target)
        page = ROOT_PAGES.get(path, path.removeprefix("docs/"))
        if path not in ROOT_PAGES and not path.startswith("docs/"):
            return words
        return f"[{words}]({'../' * depth}{page}{anchor})"

    return LINK.sub(replace, text)


def _normal(path: Path) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
