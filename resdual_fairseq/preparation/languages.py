"""Codes of languages, and how file names spell them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import ResDualError


def check_pair(languages: Sequence[str]) -> None:
    """Check the codes of two languages.

    Raises:
        ResDualError: one is no code, or both are the same.
    """
    source, target = languages
    for language in languages:
        if not re.fullmatch(r"[A-Za-z][\w-]*", language):
            raise ResDualError(f"--languages: '{language}' is no language code such as de or pt-BR")
    if source == target:
        raise ResDualError(f"--languages: '{source}' twice; give two different languages")


def file_code(language: str) -> str:
    """The code in file names: '_' for '-' (zh-Hans: zh_Hans), at which fairseq splits names."""
    return language.replace("-", "_")
