"""Text of a message that was written as HTML, for phones that show text alone."""

from __future__ import annotations

import re
from typing import Final

from lxml import etree

MAX_CHARACTERS: Final = 65_536

_BLOCKS: Final = frozenset(
    ("address", "blockquote", "dd", "div", "dl", "dt", "form", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p",
     "pre", "table", "tr", "ul")
)  # fmt: skip
_HIDDEN: Final = frozenset(("head", "script", "style", "title", "template", "object"))
_BLANKS: Final = re.compile(r"[ \t\n\r\f]+")
_NO_TEXT: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINES: Final = re.compile(r" ?\n ?")
_MANY_LINES: Final = re.compile(r"\n{3,}")


def text_of_html(html: str) -> str:
    """The text that a browser would show: blanks run together, blocks and ``<br>`` begin new lines.

    Whatever is not HTML is read as well as it can be; what is longer than `MAX_CHARACTERS` is cut.
    """
    html = _NO_TEXT.sub("", html[:MAX_CHARACTERS])
    if not html.strip():
        return ""
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True, huge_tree=False)
    try:
        root = etree.fromstring(html.encode(), parser)
    except etree.XMLSyntaxError:
        return ""
    if root is None:
        return ""
    pieces: list[str] = []
    hidden = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        name = str(element.tag).lower()
        if event == "start":
            hidden += name in _HIDDEN
            if not hidden:
                pieces.append("\n" if name in _BLOCKS or name == "br" else "")
                pieces.append(_BLANKS.sub(" ", element.text or ""))
            continue
        if not hidden:
            pieces.append("\n" if name in _BLOCKS else "")
        hidden -= name in _HIDDEN
        if not hidden:
            pieces.append(_BLANKS.sub(" ", element.tail or ""))
    text = _NO_TEXT.sub("", "".join(pieces)).replace("\xa0", " ")
    text = _LINES.sub("\n", text)
    return _MANY_LINES.sub("\n\n", text).strip()
