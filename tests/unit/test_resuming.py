"""Protects resumed trainings from going on as another model."""

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.checkpoints import save, state

from resdual_fairseq.checkpoints.resuming import check_resumed, newest_whole
from resdual_fairseq.errors import ResDualError


def training(save_dir: Path, **options: Any) -> Namespace:
    defaults = {"restore_file": "checkpoint_last.pt", "reset_optimizer": False}
    return Namespace(save_dir=str(save_dir), **{**defaults, **options})


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The folder of a run with --residual post."""
    save(tmp_path / "checkpoint_last.pt", {}, residual="post", residual_alpha=1.0)
    return tmp_path


def test_the_newest_whole_checkpoint(tmp_path: Path) -> None:
    """By the updates that it tells; of the run's own files, with an optimizer's state."""
    assert newest_whole(tmp_path) is None
    for name, updates in (
        *(("checkpoint3.pt", 30), ("checkpoint_2_25.pt", 25), ("checkpoint_best.pt", 20)),
        *(("checkpoint_last.pt", 50), ("crash.pt", 90), ("checkpoint_average.pt", 80)),
        *(("checkpoint_4_35.pt", 35), ("checkpoint4.pt", 40), ("checkpoint.best_bleu_9.10.pt", 10)),
    ):
        saved = state({})
        saved["optimizer_history"][-1]["num_updates"] = updates
        saved["last_optimizer_state"] = None if name == "checkpoint4.pt" else {}
        torch.save(saved, tmp_path / name)
    assert newest_whole(tmp_path) == tmp_path / "checkpoint_4_35.pt"
    os.truncate(tmp_path / "checkpoint_4_35.pt", 600)
    assert newest_whole(tmp_path) == tmp_path / "checkpoint3.pt"


def test_the_checkpoint_in_place_of_one_cut_short_is_looked_at(begun: Path) -> None:
    (begun / "checkpoint_last.pt").rename(begun / "checkpoint_1_7.pt")
    (begun / "checkpoint_last.pt").touch()
    with pytest.raises(ResDualError, match=r"checkpoint_1_7\.pt was trained with --residual post"):
        check_resumed(training(begun))


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


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ({"share_all_embeddings": True}, {}, "with --share-all-embeddings; give it"),
        ({}, {"share_all_embeddings": True}, "without --share-all-embeddings; leave it out"),
        (
            {"share_decoder_input_output_embed": True},
            {},
            "with --share-decoder-input-output-embed; give it",
        ),
    ],
)
def test_other_shared_weights_are_refused(was: Any, now: Any, told: str, tmp_path: Path) -> None:
    save(tmp_path / "checkpoint_last.pt", {}, residual="resdual", **was)
    with pytest.raises(ResDualError, match=told):
        check_resumed(training(tmp_path, **now))
    check_resumed(training(tmp_path, **was))


def test_what_fairseq_shares_by_itself_is_no_difference(tmp_path: Path) -> None:
    shared = {"share_all_embeddings": True}
    save(
        tmp_path / "checkpoint_last.pt", {}, residual="resdual",
        share_decoder_input_output_embed=True, **shared,
    )  # fmt: skip
    check_resumed(training(tmp_path, **shared))


def test_a_run_of_fairseqs_transformer_does_not_go_on(tmp_path: Path) -> None:
    save(tmp_path / "checkpoint_last.pt", {}, _name="transformer_iwslt_de_en")
    for options in ({}, {"residual": "pre"}):
        with pytest.raises(ResDualError, match=r"fairseq's transformer_iwslt_de_en; .*--finetune"):
            check_resumed(training(tmp_path, **options))
        check_resumed(training(tmp_path, reset_optimizer=True, **options))


@pytest.mark.parametrize("kind", ["pre", "post"])
def test_a_run_of_fairseqs_transformer_goes_on_as_what_it_was(kind: str, tmp_path: Path) -> None:
    norms = {f"{side}_normalize_before": kind == "pre" for side in ("encoder", "decoder")}
    save(tmp_path / "checkpoint_last.pt", {}, _name="transformer", **norms)
    check_resumed(training(tmp_path, residual=kind))


def test_a_missing_file_to_start_from(tmp_path: Path) -> None:
    with pytest.raises(ResDualError, match=r"--finetune-from-model .*none\.pt does not exist"):
        check_resumed(training(tmp_path, finetune_from_model=str(tmp_path / "none.pt")))


def test_a_fine_tuning_goes_on_without_the_file_that_it_began_with(begun: Path) -> None:
    check_resumed(training(begun, residual="post", finetune_from_model="none.pt"))


def test_continue_once_is_looked_at_where_it_is_read(begun: Path, tmp_path: Path) -> None:
    once = {"continue_once": str(begun / "checkpoint_last.pt")}
    with pytest.raises(ResDualError, match="was trained with --residual post"):
        check_resumed(training(tmp_path / "new", **once))
