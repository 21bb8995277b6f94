"""The folder of a preparation: what is done in it, with which settings, and what came out."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..errors import ResDualError
from .run_steps import TEMPORARY, discard, read_lines, say, sha256, write_whole
from .split_pairs import SPLITS

SETTINGS = "settings.json"
MANIFEST = "manifest.json"
PARTS = ("text", "tokenized", "bpe.codes", "bpe", "data-bin", MANIFEST)
# <s>, <pad>, </s> and <unk>, which fairseq keeps out of its dict.txt.
SPECIAL_SYMBOLS = 4
PACKAGES = ("fairseq", "ve-fairseq", "torch", "sacremoses", "subword-nmt")


def as_json(value: Any) -> str:
    """JSON that people read too."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Which settings differ, as 'name: before, now new' joined by semicolons."""
    found = []
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            values = f": {before.get(name)}, now {now.get(name)}"
            found.append(name + (" differs" if name.endswith("sha256") else values))
    return "; ".join(found)


def open_folder(out: Path, settings: dict[str, Any], force: bool) -> None:
    """Make the folder ready for a run with these settings, whatever a former run left in it.

    Raises:
        ResDualError: it holds other work than theirs, and `force` does not let that go.
    """
    for name in (*PARTS, SETTINGS):
        for ending in (TEMPORARY, ".old"):
            discard(out / (name + ending))
    parts = [name for name in PARTS if (out / name).exists()]
    record = out / SETTINGS
    if not parts:
        discard(record)
        return
    if not record.exists():
        raise ResDualError(
            f"{out} holds '{parts[0]}', which this command did not write: choose another --out"
        )
    before = json.loads(record.read_text(encoding="utf-8"))
    if before != settings and not force:
        raise ResDualError(
            f"{out} was prepared with other settings ({differences(before, settings)}): "
            "choose another --out, or give --force to prepare it anew"
        )
    if force:
        # The last part first, so that what a kill leaves is again a beginning of the same work.
        for name in reversed(PARTS):
            discard(out / name)
        discard(record)


def packages() -> dict[str, str]:
    """The versions of all that has a say in the result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def counts(out: Path, languages: Sequence[str], pair: str = "") -> dict[str, Any]:
    """Lines, words (clean text) and tokens (BPE) of every split; `pair` is their subfolder."""
    table: dict[str, Any] = {}
    for split in SPLITS:
        row: dict[str, Any] = {"lines": 0, "words": {}, "tokens": {}}
        for language in languages:
            name = f"{split}.{language}"
            lines = read_lines(out / "text" / pair / name)
            row["lines"] = len(lines)
            row["words"][language] = sum(len(line.split()) for line in lines)
            encoded = read_lines(out / "bpe" / pair / name)
            row["tokens"][language] = sum(len(line.split()) for line in encoded)
        table[split] = row
    return table


def checksums(out: Path) -> dict[str, str]:
    """The SHA-256 of every file of the result, by its path in the folder."""
    files = [out / "bpe.codes"]
    for folder in ("text", "bpe", "data-bin"):
        files += sorted(path for path in (out / folder).rglob("*") if path.is_file())
    # The log of fairseq-preprocess names temporary folders and the time.
    return {str(path.relative_to(out)): sha256(path) for path in files if path.suffix != ".log"}


def write_manifest(out: Path, settings: dict[str, Any], languages: Sequence[str]) -> None:
    """Record how the data came about and what it is; the last file of a preparation."""
    report = json.loads((out / "text" / "report.json").read_text(encoding="utf-8"))
    manifest = {
        "settings": settings,
        "splits": counts(out, languages),
        "dictionary": SPECIAL_SYMBOLS
        + len(read_lines(out / "data-bin" / f"dict.{languages[0]}.txt")),
        **report,
        "versions": packages(),
        "sha256": checksums(out),
    }
    write_whole(out / MANIFEST, as_json(manifest))


def print_summary(out: Path, languages: Sequence[str]) -> None:
    """Print the table of what was prepared, from the manifest."""
    manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    columns = [(what, language) for what in ("words", "tokens") for language in languages]
    rows = [["split", "lines", *(f"{what} {language}" for what, language in columns)]]
    for split, row in manifest["splits"].items():
        numbers = [row["lines"], *(row[what][language] for what, language in columns)]
        rows.append([split, *(f"{number:,}" for number in numbers)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    say("")
    for name, *cells in rows:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths[1:])]
        say("  ".join([name.ljust(widths[0]), *padded]))
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in manifest["dropped"].items())
    say(f"dropped pairs: {dropped or 'none'}")
    say(f"dictionary: {manifest['dictionary']:,} symbols, shared by both languages")
    say(f"ready: {out / 'data-bin'}")
