"""Protects resumed trainings from going on under another residual connection."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from helpers.checkpoints import save

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.resuming import check_resumed


def training(save_dir: Path, **options: Any) -> Namespace:
    defaults = {"restore_file": "checkpoint_last.pt", "reset_optimizer": False}
    return Namespace(save_dir=str(save_dir), **{**defaults, **options})


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The folder of a run with --residual post."""
    save(tmp_path / "checkpoint_last.pt", {}, residual="post", residual_alpha=1.0)
    return tmp_path


def test_the_same_connection_goes_on(begun: Path) -> None:
    check_resumed(training(begun, residual="post", residual_alpha=1.0))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "--residual post, and this command says resdual"),
        ({"residual": "pre"}, "--residual post, and this command says pre"),
        ({"residual": "post", "residual_alpha": 0.5}, "--residual-alpha 1.0, and .* says 0.5"),
    ],
)
def test_another_one_is_refused(options: Any, told: str, begun: Path) -> None:
    with pytest.raises(ResDualError, match=told):
        check_resumed(training(begun, **options))


def test_a_file_named_by_the_user(begun: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("new")
    check_resumed(training(elsewhere))
    with pytest.raises(ResDualError, match="was trained with --residual post"):
        check_resumed(training(elsewhere, restore_file=str(begun / "checkpoint_last.pt")))
    check_resumed(
        training(elsewhere, restore_file=str(begun / "checkpoint_last.pt"), reset_optimizer=True)
    )


def test_broken_and_foreign_files_are_left_to_their_loading(tmp_path: Path) -> None:
    (tmp_path / "checkpoint_last.pt").write_bytes(b"no checkpoint")
    check_resumed(training(tmp_path))
    save(tmp_path / "checkpoint_last.pt", {}, encoder_layers=2)
    check_resumed(training(tmp_path, residual="pre"))
