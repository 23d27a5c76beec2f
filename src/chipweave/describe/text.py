"""Text of strangers, made harmless: titles, credits and class names end up in Markdown, HTML and YAML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from chipweave.plain import plain, shortened

__all__ = ["code", "link", "markdown", "paragraphs", "plain", "shortened", "table"]

_MARKS = re.compile(r"([\\`*_{}\[\]|~$#])")
_OPENING = re.compile(r"^([-+=]|\d+[.)](?= ))")
_NO_LINK = "()<>[]\\`\"' "


def markdown(text: object) -> str:
    """One line that Markdown shows as it is: no markup, no HTML, no list, no heading."""
    line = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _MARKS.sub(r"\\\1", line)
    return _OPENING.sub(lambda m: m.group(1)[:-1] + "\\" + m.group(1)[-1], line)


def paragraphs(text: str) -> str:
    """Several paragraphs, parted by blank lines, each as `markdown` writes it."""
    parts = (markdown(part) for part in re.split(r"\n\s*\n", str(text)))
    return "\n\n".join(part for part in parts if part)


def link(text: object, url: str) -> str:
    """Markdown link, or the plain text alone where the address is no http(s) one."""
    address = plain(url)
    if urlsplit(address).scheme not in {"http", "https"}:
        return markdown(text)
    safe = "".join(quote(c) if c in _NO_LINK else c for c in address)
    return f"[{markdown(text)}]({safe})"


def code(text: object) -> str:
    """Inline code, safe in a table cell: a backtick cannot end it, a bar cannot end the cell."""
    line = plain(text).replace("`", "'").replace("|", "\\|")
    return f"`{line}`" if line else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown table; cells come escaped."""
    lines: list[Sequence[str]] = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
