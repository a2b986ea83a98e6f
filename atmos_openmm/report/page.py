"""A self-contained HTML page: text, figures and tables in one file that asks the network nothing.

All text is escaped. Pictures are embedded as base64 PNG.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from string import Template
from typing import TypeAlias


@dataclass(frozen=True)
class Fact:
    """A number worth seeing first: its name, its value, and one line of what it means."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Text:
    """Paragraphs; `strong` opens the first one."""

    paragraphs: tuple[str, ...]
    strong: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG picture with the text that replaces it for who cannot see it, and its caption."""

    png: bytes
    alternative: str
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text under column names.

    `numeric` names the columns aligned to the right. `flags`, one a row ("good", "bad" or ""),
    colours the row's first cell; the cell's text must say the same, colour alone is not read by
    all. `tall` puts the rows in a box that scrolls.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[str] = frozenset()
    flags: tuple[str, ...] = ()
    caption: str = ""
    tall: bool = False


@dataclass(frozen=True)
class Embedded:
    """Markup of a module that escapes its texts itself, with the style and the script it needs.

    The page lets nothing be loaded, whatever a script tries.
    """

    markup: str
    style: str = ""
    script: str = ""


Part: TypeAlias = Text | Picture | Table | Embedded


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    parts: Sequence[Part] = field(default_factory=tuple)


_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
$policy<title>$title</title>
<link rel="icon" href="data:,">
<style>$style</style>
</head>
<body>
<main>
<header>
<h1>$title</h1>
<p class="lead">$lead</p>
</header>
$facts
$sections
<footer>$footer</footer>
</main>
$scripts</body>
</html>
""")

#: Of pages with scripts: browsers refuse whatever is not in the file itself.
_POLICY = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
"""

_STYLE = """
:root { --ink: #1f2933; --muted: #5b6673; --line: #dde2e8; --soft: #f5f7f9; --good: #00714f;
  --bad: #9c2f6d; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); line-height: 1.55;
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .5rem; text-wrap: balance; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .6rem; padding-top: .9rem;
  border-top: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 46rem; }
.lead { color: var(--muted); font-size: 1.05rem; }
.facts { display: grid; gap: .75rem; margin: 1.75rem 0 0; padding: 0; list-style: none;
  grid-template-columns: repeat(auto-fit, minmax(min(16rem, 100%), 1fr)); }
.facts li { border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; }
.facts .name { display: block; font-size: .85rem; color: var(--muted); }
.facts .value { display: block; font-size: 1.3rem; font-weight: 600; line-height: 1.35;
  font-variant-numeric: tabular-nums; }
.facts .note { display: block; font-size: .85rem; color: var(--muted); line-height: 1.4; }
figure { margin: 1rem 0; }
figure img { display: block; width: 100%; height: auto; }
figcaption, caption { color: var(--muted); font-size: .9rem; text-align: left; max-width: 46rem; }
figcaption { margin-top: .4rem; }
caption { padding-bottom: .5rem; }
.box { overflow-x: auto; margin: 1rem 0; }
.box.tall { max-height: 26rem; overflow: auto; border: 1px solid var(--line);
  border-radius: .5rem; }
.box.tall caption { padding: .6rem .7rem; }
table { border-collapse: collapse; font-size: .88rem; min-width: 100%; }
th, td { padding: .3rem .7rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { background: var(--soft); font-weight: 600; white-space: nowrap; }
.tall thead th { position: sticky; top: 0; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.good { color: var(--good); font-weight: 600; }
td.bad { color: var(--bad); font-weight: 600; }
td { overflow-wrap: break-word; }
.tall td { white-space: nowrap; }
.tall td:last-child { white-space: normal; min-width: 16rem; }
footer { margin-top: 3rem; padding-top: .9rem; border-top: 1px solid var(--line);
  color: var(--muted); font-size: .85rem; }
@media print { .box.tall { max-height: none; } h2 { break-after: avoid; }
  figure { break-inside: avoid; } }
"""


def render_page(
    title: str, lead: str, facts: Sequence[Fact], sections: Sequence[Section], footer: str = ""
) -> str:
    """The page as text; write it with encoding UTF-8."""
    embedded = [p for section in sections for p in section.parts if isinstance(p, Embedded)]
    return _PAGE.substitute(
        title=escape(title),
        lead=escape(lead),
        policy=_POLICY if embedded else "",
        style=_STYLE + "".join(part.style for part in embedded),
        scripts="".join(f"<script>{part.script}</script>\n" for part in embedded if part.script),
        footer=escape(footer),
        facts=_facts(facts),
        sections="\n".join(_section(section) for section in sections),
    )


def _facts(facts: Sequence[Fact]) -> str:
    if not facts:
        return ""
    items = "\n".join(
        f'<li><span class="name">{escape(fact.name)}</span>'
        f'<span class="value">{escape(fact.value)}</span>'
        f'<span class="note">{escape(fact.note)}</span></li>'
        for fact in facts
    )
    return f'<ul class="facts">\n{items}\n</ul>'


def _section(section: Section) -> str:
    parts = "\n".join(_part(part) for part in section.parts)
    return f"<section>\n<h2>{escape(section.title)}</h2>\n{parts}\n</section>"


def _part(part: Part) -> str:
    if isinstance(part, Embedded):
        return part.markup
    if isinstance(part, Text):
        texts = [escape(paragraph) for paragraph in part.paragraphs]
        if part.strong:
            texts = [
                f"<strong>{escape(part.strong)}</strong> {texts[0] if texts else ''}",
                *texts[1:],
            ]
        return "\n".join(f"<p>{text}</p>" for text in texts)
    if isinstance(part, Picture):
        data = base64.b64encode(part.png).decode("ascii")
        caption = f"<figcaption>{escape(part.caption)}</figcaption>" if part.caption else ""
        return (
            f'<figure><img src="data:image/png;base64,{data}" '
            f'alt="{escape(part.alternative)}">{caption}</figure>'
        )
    return _table(part)


def _table(table: Table) -> str:
    def cell(tag: str, column: int, text: str, kind: str = "") -> str:
        kinds = [kind] if kind else []
        if table.columns[column] in table.numeric:
            kinds.append("number")
        attributes = f' class="{" ".join(kinds)}"' if kinds else ""
        scope = ' scope="col"' if tag == "th" else ""
        return f"<{tag}{scope}{attributes}>{escape(text)}</{tag}>"

    head = "".join(cell("th", k, name) for k, name in enumerate(table.columns))
    flags = table.flags or ("",) * len(table.rows)
    rows = []
    for row, flag in zip(table.rows, flags, strict=True):
        if len(row) != len(table.columns):
            raise ValueError(
                f"a table row has {len(row)} cells, its columns are {len(table.columns)}: {row!r}"
            )
        rows.append(
            "<tr>"
            + "".join(cell("td", k, text, flag if k == 0 else "") for k, text in enumerate(row))
            + "</tr>"
        )
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    # A box that scrolls can be reached by keyboard.
    box = 'class="box tall" tabindex="0"' if table.tall else 'class="box"'
    body = "\n".join(rows)
    return (
        f"<div {box}><table>{caption}<thead><tr>{head}</tr></thead>\n"
        f"<tbody>{body}</tbody></table></div>"
    )
