"""Protects resumed trainings: they go on from a whole checkpoint, and not as another model."""

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.checkpoints import save, state
from omegaconf import OmegaConf

from resdual_fairseq.checkpoints.resuming import check_resumed, newest_whole
from resdual_fairseq.errors import ResDualError


def begun(folder: Path, **options: Any) -> Path:
    """The checkpoint of a run with these options."""
    return save(folder / "checkpoint_last.pt", {}, **options)


def go_on(checkpoint: Path, **options: Any) -> None:
    check_resumed(checkpoint, Namespace(**{"residual": "resdual", **options}))
    check_resumed(checkpoint, OmegaConf.create({"residual": "resdual", **options}))


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


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ({"residual": "post"}, {}, "--residual post, and this command says --residual resdual"),
        (
            {"residual": "post"},
            {"residual": "pre"},
            "--residual post, and this command says --residual pre",
        ),
        (
            {"residual": "resdual", "residual_alpha": 1.0},
            {"residual_alpha": 0.5},
            "--residual-alpha 1.0, and this command says --residual-alpha 0.5",
        ),
        (
            {"residual": "resdual", "share_all_embeddings": True},
            {},
            "--share-all-embeddings, and this command says no --share-all-embeddings",
        ),
        (
            {"residual": "resdual"},
            {"share_all_embeddings": True},
            "no --share-all-embeddings, and this command says --share-all-embeddings",
        ),
        (
            {"residual": "resdual", "share_decoder_input_output_embed": True},
            {},
            "--share-decoder-input-output-embed, and this command says no --share",
        ),
    ],
)
def test_another_model_is_refused(was: Any, now: Any, told: str, tmp_path: Path) -> None:
    checkpoint = begun(tmp_path, **was)
    with pytest.raises(ResDualError, match=rf"checkpoint_last\.pt was trained with {told}"):
        go_on(checkpoint, **now)
    go_on(checkpoint, **was)


def test_what_fairseq_shares_by_itself_is_no_difference(tmp_path: Path) -> None:
    shared = {"share_all_embeddings": True}
    checkpoint = begun(
        tmp_path, residual="resdual", share_decoder_input_output_embed=True, **shared
    )
    go_on(checkpoint, **shared)


def test_broken_files_and_other_models_are_left_to_fairseq(tmp_path: Path) -> None:
    (tmp_path / "checkpoint_last.pt").write_bytes(b"no checkpoint")
    go_on(tmp_path / "checkpoint_last.pt")
    go_on(Path("s3://far/away.pt"))
    go_on(begun(tmp_path, _name="lstm", encoder_layers=2), residual="pre")
    check_resumed(begun(tmp_path, residual="post"), Namespace(arch="transformer"))


def test_a_run_of_fairseqs_transformer_does_not_go_on(tmp_path: Path) -> None:
    checkpoint = begun(tmp_path, _name="transformer_iwslt_de_en")
    for kind in ("resdual", "pre"):
        with pytest.raises(
            ResDualError, match=rf"--residual post, and .* says --residual {kind}; .*--finetune"
        ):
            go_on(checkpoint, residual=kind)


@pytest.mark.parametrize("name", ["transformer", "transformer_lm_gpt"])
@pytest.mark.parametrize("kind", ["pre", "post"])
def test_a_run_of_fairseqs_transformer_goes_on_as_what_it_was(
    kind: str, name: str, tmp_path: Path
) -> None:
    sides = ("decoder",) if "lm" in name else ("encoder", "decoder")
    norms = {f"{side}_normalize_before": kind == "pre" for side in sides}
    go_on(begun(tmp_path, _name=name, **norms), residual=kind)
