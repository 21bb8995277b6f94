"""Values in Markdown: what would be read as markup is escaped."""

from __future__ import annotations

import re
from typing import Any


class Literal(str):
    """Text that stands as it is, such as commands in a block of code."""


def escaped(value: Any) -> Any:
    """One line of text without Markdown's and HTML's signs."""
    if isinstance(value, Literal) or not isinstance(value, str):
        return value
    line = re.sub(r"([\\`*~|])", r"\\\1", re.sub(r"\s*\n\s*", " ", value))
    line = re.sub(r"(?<!\w)_|_(?!\w)", r"\_", line.replace("](", r"]\("))
    return line.replace("&", "&amp;").replace("<", "&lt;")
