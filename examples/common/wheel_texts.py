"""The interface texts of the `homeassistant` wheel: fetch it, check it, read two languages."""

from __future__ import annotations

import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.interface_texts import plain
from resdual_fairseq.errors import ResDualError
from resdual_fairseq.preparation.clean_pairs import Pair
from resdual_fairseq.preparation.run_steps import alone, run, say, scratch, sha256

REQUIREMENT = "homeassistant==2026.11.0"
WHEEL_NAME = "homeassistant-2026.11.0-py3-none-any.whl"
WHEEL_SHA256 = "7ca5fbde9dea879ac7723949fc84347aac5182e6309c357b2e4973fd391b00f7"
TEXTS = re.compile(r"homeassistant/components/([^/]+)/translations/([^/]+)\.json")


def check(wheel: Path, remedy: str) -> None:
    """Raise ResDualError, with this remedy, unless the recipe was written for this very wheel."""
    found = sha256(wheel)
    if found != WHEEL_SHA256:
        raise ResDualError(
            f"{wheel} is not the wheel of {REQUIREMENT}: its SHA-256 is {found}, "
            f"expected {WHEEL_SHA256}; {remedy}"
        )


def check_given(wheel: Path) -> None:
    """Raise ResDualError unless the file that the user named is the wheel of the recipe."""
    if not wheel.is_file():
        raise ResDualError(f"--wheel {wheel}: there is no such file")
    check(wheel, "leave --wheel out to have the right one fetched")


def fetch(cache: Path) -> Path:
    """The checked wheel in the folder `cache`, fetched by pip when it is not there whole.

    Raises ResDualError when pip fails or fetches another file.
    """
    with alone(cache / ".download.lock"):
        return fetch_alone(cache / WHEEL_NAME)


def fetch_alone(wheel: Path) -> Path:
    """`fetch` for a process that no other disturbs."""
    if wheel.exists():
        if sha256(wheel) == WHEEL_SHA256:
            say(f"using the wheel fetched before: {wheel}")
            return wheel
        say(f"{wheel} is broken (its SHA-256 differs): fetching it anew")
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--ignore-requires-python"]
    with scratch(wheel.with_name("download.tmp")) as folder:
        run([*pip, REQUIREMENT, "--dest", str(folder)])
        fetched = folder / WHEEL_NAME
        if not fetched.exists():
            raise ResDualError(f"pip fetched no {WHEEL_NAME}: fetch it by hand and give --wheel")
        check(fetched, "run again, or fetch it by hand and give --wheel")
        os.replace(fetched, wheel)
    return wheel


def leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """The texts of nested dicts, each with its path of keys."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield from leaves(child, (*path, name))
    elif isinstance(node, str):
        yield path, node


def read(wheel: Path, source: str, target: str) -> list[Pair]:
    """All texts that both languages have, aligned by their keys; the group is the integration.

    Raises ResDualError when the wheel lacks a language. Nothing is unpacked to the disk.
    """
    with zipfile.ZipFile(wheel) as archive:
        members: dict[str, dict[str, str]] = {}
        for name in sorted(archive.namelist()):
            match = TEXTS.fullmatch(name)
            if match:
                members.setdefault(match[2], {})[match[1]] = name
        for language in (source, target):
            if language not in members:
                known = " ".join(sorted(members))
                raise ResDualError(f"the wheel has no language '{language}'; it has: {known}")
        pairs = []
        for integration in sorted(members[source].keys() & members[target].keys()):
            sides = [
                dict(leaves(json.loads(archive.read(members[language][integration]))))
                for language in (source, target)
            ]
            for path, text in sides[0].items():
                if path in sides[1]:
                    pairs.append(Pair(integration, *plain(text, sides[1][path])))
    return pairs
