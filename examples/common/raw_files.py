"""The raw files of a corpus: from a folder, a mirror, or their own home, always checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pooch

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.preparation.run_steps import say

RETRIES = 2


@dataclass(frozen=True)
class RawFile:
    """One file of a corpus.

    Attributes:
        url: where its owners publish it.
        checksum: as pooch spells it (SHA-256, or "md5:..."); None where we know none.
    """

    url: str
    checksum: str | None = None

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[1]


def in_folder(files: Mapping[str, RawFile], folder: Path) -> dict[str, Path]:
    """The paths of files that are on the disk.

    Raises ResDualError when one is not there or is another one.
    """
    if not folder.is_dir():
        raise ResDualError(f"--from-folder {folder}: there is no such folder")
    for file in files.values():
        path = folder / file.name
        if not path.is_file():
            raise ResDualError(
                f"--from-folder {folder}: there is no {file.name} in it; put it there"
            )
        algorithm = (file.checksum or "").rpartition(":")[0] or "sha256"
        if file.checksum and pooch.file_hash(str(path), algorithm) != file.checksum.split(":")[-1]:
            raise ResDualError(
                f"{path} is not the file that this recipe was written for (its checksum is not "
                f"{file.checksum}); put the right one into {folder}"
            )
    return {name: folder / file.name for name, file in files.items()}


def fetched(files: Mapping[str, RawFile], folder: Path, mirror: str | None) -> dict[str, Path]:
    """The paths of files in `folder`, where those that are not there whole are fetched.

    Raises ResDualError when one cannot be fetched or is another one.
    """
    pooch.get_logger().setLevel("WARNING")
    store = pooch.create(
        path=folder,
        base_url="",
        registry={file.name: file.checksum for file in files.values()},
        urls={file.name: address(file, mirror) for file in files.values()},
        retry_if_failed=RETRIES,
    )
    found = {}
    for name, file in files.items():
        if not (folder / file.name).exists():
            say(f"fetching {address(file, mirror)}")
        try:
            found[name] = Path(store.fetch(file.name, progressbar=True))
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0].split(". ")[0]
            raise ResDualError(
                f"{address(file, mirror)} cannot be fetched ({reason}); run again, or give "
                "--mirror URL or --from-folder DIR with the files that the README names"
            ) from error
    return found


def address(file: RawFile, mirror: str | None) -> str:
    """Where a file is fetched from."""
    return file.url if mirror is None else f"{mirror.rstrip('/')}/{file.name}"
