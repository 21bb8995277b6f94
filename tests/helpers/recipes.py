"""Tiny raw files in the formats of the recipes' corpora."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

from .commands import run

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
WORDS = ["open", "close", "the", "a", "light", "door", "window", "red", "on", "off", "old"]


def through_server(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
    """Let modules of the examples run fairseq's commands as :func:`helpers.commands.run` does."""
    for module in modules:
        monkeypatch.setattr(
            module, "run", lambda command, *_: print(run(Path(command[0]).name, *command[1:]))
        )


def sentences(count: int, seed: int = 1) -> list[str]:
    """Distinct sentences of three to seven words."""
    generator = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(generator.choice(WORDS) for _ in range(generator.randint(3, 7)))] = None
    return list(found)


def as_text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def translated(lines: list[str]) -> list[str]:
    """The other language: the same in capitals."""
    return [line.upper() for line in lines]


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    """A gzipped archive of files by their path in it."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def segments(lines: list[str]) -> bytes:
    """A test set in the markup of IWSLT and WMT."""
    rows = [f'<seg id="{n}"> {line} &amp; more </seg>' for n, line in enumerate(lines, start=1)]
    return as_text(["<doc docid='x'>", "<title>No sentence</title>", *rows, "</doc>"])


def write_multi30k(folder: Path) -> None:
    for split, count in (("train", 300), ("val", 20), ("test_2016_flickr", 20)):
        lines = sentences(count)
        for language, text in (("en", lines), ("de", translated(lines))):
            (folder / f"{split}.{language}.gz").write_bytes(gzip.compress(as_text(text)))


def write_iwslt14(folder: Path) -> None:
    lines = sentences(300)
    files = {}
    for language, text in (("de", translated(lines)), ("en", lines)):
        head = [
            "<url>http://talk</url>",
            "<keywords>a b</keywords>",
            "<title>The open door</title>",
        ]
        files[f"de-en/train.tags.de-en.{language}"] = as_text([*head, *text])
        for name in ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012"):
            files[f"de-en/IWSLT14.{name}.de-en.{language}.xml"] = segments(text[:4])
    write_tar(folder / "de-en.tgz", files)


def write_wmt14(folder: Path) -> None:
    lines = sentences(400)
    both = (("en", lines), ("de", translated(lines)))
    for archive, text in (
        ("training-parallel-europarl-v7.tgz", "training/europarl-v7.de-en"),
        ("training-parallel-commoncrawl.tgz", "commoncrawl.de-en"),
        ("training-parallel-nc-v9.tgz", "training/news-commentary-v9.de-en"),
    ):
        write_tar(folder / archive, {f"{text}.{x}": as_text(side) for x, side in both})
    names = {"en": "newstest2014-deen-src.en.sgm", "de": "newstest2014-deen-ref.de.sgm"}
    write_tar(
        folder / "test-full.tgz",
        {f"test-full/{names[x]}": segments(side[:20]) for x, side in both},
    )


def write_opus100(folder: Path) -> None:
    files = {}
    for pair in ("de-en", "en-fr"):
        for split, count in (("train", 200), ("dev", 20), ("test", 20)):
            lines = sentences(count)
            for language in pair.split("-"):
                text = lines if language == "en" else translated(lines)
                place = f"opus-100-corpus/v1.0/supervised/{pair}/opus.{pair}-{split}.{language}"
                files[place] = as_text(text)
    write_tar(folder / "opus-100-corpus-v1.0.tar.gz", files)
