"""Protects files and folders that are written whole or not at all."""

import os
from pathlib import Path
from typing import Optional

import pytest

from resdual_fairseq.files import remove_unchanged, replacing, sign_of, write_whole


def write(path: Path, content: str, folder: bool) -> None:
    if folder:
        path.mkdir()
        path /= "file"
    path.write_text(content)


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("left", [False, True])
def test_what_was_written_takes_its_place(folder: bool, left: bool, tmp_path: Path) -> None:
    """Also where a killed process left its own behind, of either kind."""
    target = tmp_path / "target"
    write(tmp_path / "target.unfinished", "of a killed process", left)
    with replacing(target) as unfinished:
        write(unfinished, "new", folder)
        assert not target.exists()
    assert (target / "file" if folder else target).read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("folder", [False, True])
def test_a_failure_leaves_what_was_there(folder: bool, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(target) as unfinished:
        write(unfinished, "half", folder)
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_text_is_written_beside_what_another_process_left(tmp_path: Path) -> None:
    path = tmp_path / "target"
    (tmp_path / "target.1.unfinished").write_text("of a killed process")
    write_whole(path, "new")
    assert path.read_text() == "new" and len(list(tmp_path.iterdir())) == 2
    with pytest.raises(IsADirectoryError) as error:
        (tmp_path / "folder").mkdir()
        write_whole(tmp_path / "folder", "new")
    assert error.value.filename == tmp_path / "folder"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("other", [None, "same", "changed", "replaced"])
def test_a_file_is_removed_only_as_it_was_seen(other: Optional[str], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    sign = sign_of(path)
    if other == "changed":
        os.utime(path, ns=(0, 0))
    elif other is None or other == "replaced":
        path.unlink()
    if other == "replaced":
        path.write_text("new")
        os.utime(path, ns=(0, 0))
    remove_unchanged(path, sign)
    assert path.exists() == (other in ("changed", "replaced"))
    assert len(list(tmp_path.iterdir())) == path.exists()
