"""The detokenized translations in fairseq-generate's output."""

from __future__ import annotations


def detokenized(output: str) -> dict[int, str]:
    """Translations by line number, from the lines `D-<number> TAB <score> TAB <text>`."""
    found: dict[int, str] = {}
    for line in output.split("\n"):
        if line.startswith("D-"):
            name, _, text = line.split("\t", 2)
            found.setdefault(int(name[2:]), text)
    return found
