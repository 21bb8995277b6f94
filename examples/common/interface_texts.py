"""From interface texts, written in Markdown or HTML, to plain sentences.

- Links `[words](address)` keep their words; `**bold**`, `` `code` `` and HTML tags keep their
  content; bullets, headings and code fences go. A reader of the translation sees the words only.
- Placeholders `{name}` and `%{name}` stay, since a translation must carry them over, but are
  numbered `{1}`, `{2}` in order of the source. Their names say nothing to a translator, Moses
  would tear `{entity_name}` apart for good, and lines that differ in a name only are copies.
"""

from __future__ import annotations

import re

from resdual_fairseq.preparation.clean_pairs import PLACEHOLDER, one_line

MARKUP = (
    (re.compile(r"```\w*"), " "),
    (re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)"), r"\1"),
    (re.compile(r"</?[A-Za-z][^<>]*>"), " "),
    (re.compile(r"^\s*(?:[-*]|#+)\s+", re.MULTILINE), ""),
    (re.compile(r"\*\*|__|`"), ""),
    (re.compile(r"(?<![\w*])\*(\S[^*\n]*)\*(?![\w*])"), r"\1"),
)


def without_markup(text: str) -> str:
    """The words of a text written in Markdown or HTML."""
    for pattern, replacement in MARKUP:
        text = pattern.sub(replacement, text)
    return text


def plain(source: str, target: str) -> tuple[str, str]:
    """Both sides of an interface text on one line each, without markup, placeholders numbered."""
    sides = [one_line(without_markup(text)) for text in (source, target)]
    names = list(dict.fromkeys(PLACEHOLDER.findall(" ".join(sides))))
    numbers = {name: f"{{{index}}}" for index, name in enumerate(names, start=1)}
    numbered = [PLACEHOLDER.sub(lambda match: numbers[match.group(1)], text) for text in sides]
    return numbered[0], numbered[1]
