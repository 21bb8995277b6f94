"""Protects the table and its folder: columns, whole files, and going on where a run stopped."""

from pathlib import Path
from typing import Any, Dict

import pytest
from helpers.tables import rows

from resdual_fairseq.diagnostics.session import STATE, Session
from resdual_fairseq.diagnostics.table import FILE, read_table, write_table
from resdual_fairseq.errors import ResDualError

SETTINGS: Dict[str, Any] = {"data": "/data", "width": None, "batches": 4}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    table = rows("pre", "gradient", rate=-3.0)
    table.append(table[0]._replace(value=float("nan"), matrix="fc1.weight"))
    write_table(tmp_path / FILE, table)
    found = read_table(tmp_path / FILE)
    assert [row[:-1] for row in found] == [row[:-1] for row in table]
    assert [row.value for row in found[:-1]] == pytest.approx([row.value for row in table[:-1]])
    assert found[-1].value != found[-1].value
    assert not list(tmp_path.glob("*.unfinished"))


def test_a_session_goes_on(tmp_path: Path) -> None:
    first = Session(tmp_path / "new" / "out", SETTINGS)
    first.keep("post-6-1", rows("post", "gradient"))
    again = Session(tmp_path / "new" / "out", SETTINGS)
    assert again.has("post-6-1")
    assert not again.has("pre-6-1")
    assert len(again.rows) == len(first.rows) == 30
    again.keep("pre-6-1", rows("pre", "gradient"))
    assert {row.model for row in Session(tmp_path / "new" / "out", SETTINGS).rows} == {
        "post-6-1",
        "pre-6-1",
    }


def test_a_model_whose_rows_came_without_its_entry_is_measured_again(tmp_path: Path) -> None:
    """Killed between the two files."""
    session = Session(tmp_path, SETTINGS)
    session.keep("post-6-1", rows("post", "gradient"))
    write_table(tmp_path / FILE, session.rows + rows("pre", "gradient"))
    again = Session(tmp_path, SETTINGS)
    assert not again.has("pre-6-1")
    assert {row.model for row in again.rows} == {"post-6-1"}


def test_a_changed_checkpoint_is_measured_again(tmp_path: Path) -> None:
    session = Session(tmp_path, SETTINGS)
    session.keep("run/last.pt", rows("pre", "gradient", model="run/last.pt"), "1")
    assert session.has("run/last.pt", "1")
    assert not session.has("run/last.pt", "2")
    session.keep("run/last.pt", rows("pre", "gradient", rate=1.0, model="run/last.pt"), "2")
    assert len(session.rows) == 30


def test_other_settings_are_refused(tmp_path: Path) -> None:
    Session(tmp_path, SETTINGS).keep("post-6-1", rows("post", "gradient"))
    with pytest.raises(ResDualError, match="holds measurements with batches 4, and this command"):
        Session(tmp_path, {**SETTINGS, "batches": 5})


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / STATE).touch()
    with pytest.raises(ResDualError, match="cannot be made"):
        Session(tmp_path / STATE, SETTINGS)
