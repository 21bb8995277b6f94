"""The raw files of a corpus: from a folder, a mirror, or their own home, resumed and checked."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path

from common.run_steps import PrepareError, say, sha256

BLOCK = 1 << 20
SHOW_EVERY = 64 * BLOCK
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class RawFile:
    """One file of a corpus.

    Attributes:
        url: where its owners publish it.
        sha256: its checksum, or "" where none is known to us.
    """

    url: str
    sha256: str = ""

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[1]


def obtain(file: RawFile, raw: Path, mirror: str | None, folder: Path | None) -> Path:
    """The checked file: in `folder` where that is given, else fetched into `raw`.

    Args:
        file: what is wanted.
        raw: where fetched files are kept.
        mirror: an address of a folder in place of the file's own home.
        folder: files already on the disk.

    Raises PrepareError when the file is not there, cannot be fetched, or is another one.
    """
    if folder is not None:
        path = folder / file.name
        if not path.is_file():
            raise PrepareError(
                f"--from-folder {folder}: there is no {file.name} in it; put it there"
            )
        check(path, file, f"put the right one into {folder}")
        return path
    path = raw / file.name
    if not path.exists():
        address = file.url if mirror is None else f"{mirror.rstrip('/')}/{file.name}"
        raw.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".part")
        download(address, partial)
        try:
            check(partial, file, "run again, or give another --mirror or --from-folder")
        except PrepareError:
            partial.unlink()
            raise
        os.replace(partial, path)
    return path


def check(path: Path, file: RawFile, remedy: str) -> None:
    """Raise PrepareError, with this remedy, where a file with a known checksum has another."""
    if file.sha256 and sha256(path) != file.sha256:
        raise PrepareError(
            f"{path} is not the file that this recipe was written for (its SHA-256 is not "
            f"{file.sha256}); {remedy}"
        )


def download(address: str, partial: Path) -> None:
    """Fetch a file, going on where a former call stopped; shows progress.

    Raises PrepareError when the address cannot be read to its end.
    """
    start = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(address)
    if start:
        request.add_header("Range", f"bytes={start}-")
    say(f"fetching {address}" + (f" from byte {start:,} on" if start else ""))
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            goes_on = response.status == 206
            receive(response, partial, start if goes_on else 0)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # what is there is all there is
            return
        raise PrepareError(unreachable(address, f"{error.code} {error.reason}")) from error
    except (OSError, ValueError) as error:
        raise PrepareError(unreachable(address, getattr(error, "reason", error))) from error


def receive(response: HTTPResponse, partial: Path, start: int) -> None:
    """Append a response's bytes to what is there, from byte `start` on.

    Raises OSError when the connection ends early.
    """
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    done, shown = start, start
    with partial.open("r+b" if start else "wb") as stream:
        stream.seek(start)
        for block in iter(lambda: response.read(BLOCK), b""):
            stream.write(block)
            done += len(block)
            if done - shown >= SHOW_EVERY:
                shown = done
                say(f"  {done / BLOCK:,.0f} MiB" + (f" of {total / BLOCK:,.0f}" if total else ""))
    if total is not None and done < total:
        raise OSError(f"the connection ended after {done:,} of {total:,} bytes")


def unreachable(address: str, reason: object) -> str:
    """One sentence on an address that did not give the file."""
    return (
        f"{address} cannot be fetched ({reason}); run again to go on, or give --mirror URL or "
        "--from-folder DIR with the files that the README names"
    )
