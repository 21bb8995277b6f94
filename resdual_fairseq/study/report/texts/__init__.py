"""What the report says, in English and Japanese, side by side in the YAML files of this folder."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Dict, Sequence

import yaml

LANGUAGES = ("en", "ja")
SEPARATORS = {"en": ", ", "ja": "、"}
ENDS = {"en": " ", "ja": ""}


@cache
def entries() -> Dict[str, Dict[str, str]]:
    """Every text by its key, then by its language; ``one`` is the English singular, if any."""
    found: Dict[str, Dict[str, str]] = {}
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        found.update(yaml.safe_load(path.read_text(encoding="utf-8")))
    return found


class Texts:
    """The texts of one language."""

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise ValueError(f"there is no report in '{language}'; take one of {LANGUAGES}")
        self.language = language

    def __call__(self, key: str, **values: Any) -> str:
        """The text with its places filled in; ``n`` is the number that decides on the plural."""
        entry = entries()[key]
        is_one = self.language == "en" and values.get("n") == 1 and "one" in entry
        return entry["one" if is_one else self.language].format(**values)

    def known(self, key: str, otherwise: str) -> str:
        """The text, or another where there is no such key: a name that came in from outside."""
        return self(key) if key in entries() else otherwise

    def translated(self, sentence: str) -> str:
        """A record's English sentence on a failure; a log's own lines stay as they are."""
        for key, entry in entries().items():
            if key.startswith("detail_"):
                pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+?)", re.escape(entry["en"]))
                found = re.fullmatch(pattern, sentence)
                if found:
                    parts = found.groupdict().items()
                    return self(key, **{name: self.translated(part) for name, part in parts})
        return sentence

    def listed(self, items: Sequence[Any]) -> str:
        """Items in a row, as a sentence has them."""
        return SEPARATORS[self.language].join(map(str, items))

    def sentences(self, items: Sequence[str]) -> str:
        """Sentences in a row."""
        return ENDS[self.language].join(item for item in items if item)
