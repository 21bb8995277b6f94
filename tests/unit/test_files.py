"""Protects files and folders that are written whole or not at all."""

from pathlib import Path

import pytest

from resdual_fairseq.files import replacing


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
