"""Protects users from checkpoint files that run code, and from tracebacks on broken ones."""

import pickle
from argparse import Namespace
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
from fairseq import checkpoint_utils
from helpers.checkpoints import RunsCode, save, state

from resdual_fairseq import compat
from resdual_fairseq.checkpoints import loading
from resdual_fairseq.checkpoints.loading import load_whole_checkpoint
from resdual_fairseq.errors import ResDualError

WEIGHTS = {"encoder.weight": torch.arange(9000.0), "encoder.version": torch.ones(1)}


def load_as_fairseq(path: Path) -> Any:
    return checkpoint_utils.load_checkpoint_to_cpu(str(path))


LOADERS = pytest.mark.parametrize("load", [load_as_fairseq, load_whole_checkpoint])


def sentence_from(load: Callable[[Path], Any], path: Path) -> str:
    with pytest.raises(ResDualError) as error:
        load(path)
    sentence = str(error.value)
    assert f"checkpoint {path} " in sentence
    assert "\n" not in sentence
    return sentence


@LOADERS
def test_what_fairseq_writes_loads(load: Callable[[Path], Any], tmp_path: Path) -> None:
    loaded = load(save(tmp_path / "good.pt", WEIGHTS, encoder_layers=3))
    assert loaded["model"].keys() == WEIGHTS.keys()
    assert all(torch.equal(loaded["model"][name], value) for name, value in WEIGHTS.items())
    assert loaded["cfg"]["model"].encoder_layers == 3
    assert loaded["optimizer_history"][-1]["lr_scheduler_state"]["best"] == 3.5
    assert loaded["extra_state"]["metrics"]["_bleu_counts"].tolist() == [4, 3, 2, 1]


def test_options_of_old_checkpoints_load(tmp_path: Path) -> None:
    torch.save({"args": Namespace(arch="transformer"), "model": WEIGHTS}, tmp_path / "old.pt")
    assert load_whole_checkpoint(tmp_path / "old.pt")["args"].arch == "transformer"


def torch_file(path: Path, payload: Any) -> None:
    torch.save({**state(WEIGHTS), "extra": payload}, path)


def old_torch_file(path: Path, payload: Any) -> None:
    whole = {**state(WEIGHTS), "extra": payload}
    torch.save(whole, path, _use_new_zipfile_serialization=False)


def bare_pickle(path: Path, payload: Any) -> None:
    path.write_bytes(pickle.dumps(payload, protocol=2))


def handmade_pickle(path: Path, payload: RunsCode) -> None:
    command = f"echo > {payload.marker}"
    path.write_bytes(b"cposix\nsystem\n(V" + command.encode() + b"\ntR.")


@LOADERS
@pytest.mark.parametrize("write", [torch_file, old_torch_file, bare_pickle, handmade_pickle])
def test_code_in_a_checkpoint_is_refused_and_not_run(
    load: Callable[[Path], Any], write: Callable[[Path, Any], None], tmp_path: Path
) -> None:
    path, marker = tmp_path / "hostile.pt", tmp_path / "ran"
    write(path, RunsCode(marker))
    sentence = sentence_from(load, path)
    assert "was refused" in sentence
    assert "(posix.system)" in sentence
    assert "fairseq-train" in sentence
    assert not marker.exists()


def test_the_hostile_files_are_hostile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without protection they do run: the test above would notice."""
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    for number, write in enumerate((torch_file, old_torch_file, bare_pickle, handmade_pickle)):
        path, marker = tmp_path / f"{number}.pt", tmp_path / f"ran{number}"
        write(path, RunsCode(marker))
        if number < 2:
            torch.load(path, weights_only=False)
        else:
            pickle.loads(path.read_bytes())
        assert marker.exists()


class BuildsPath:
    def __reduce__(self) -> Any:
        return Path, ("somewhere",)


@LOADERS
@pytest.mark.parametrize("core", ["core", "_core"])
def test_meters_of_both_versions_of_numpy_load(
    load: Callable[[Path], Any], core: str, tmp_path: Path
) -> None:
    path = tmp_path / "meters.pt"
    torch.save(state(WEIGHTS), path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    own = next(name for name in (b"numpy.core.", b"numpy._core.") if name in data)
    assert data.count(own + b"multiarray\n") == 2  # an array, a number
    path.write_bytes(data.replace(own, f"numpy.{core}.".encode()))
    loaded = load(path)
    assert loaded["extra_state"]["metrics"]["_bleu_counts"].tolist() == [4, 3, 2, 1]
    assert loaded["optimizer_history"][-1]["lr_scheduler_state"]["best"] == 3.5


def test_nothing_else_of_numpy_is_trusted() -> None:
    names = {entry[1] for entry in loading.safe_types() if isinstance(entry, tuple)}
    functions = ("_reconstruct", "scalar")
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")
    assert names == {f"{module}.{name}" for module in modules for name in functions}


def test_a_user_who_trusts_a_file_by_torchs_own_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As fairseq's commands then take it, too."""
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch_file(tmp_path / "trusted.pt", BuildsPath())
    assert load_whole_checkpoint(tmp_path / "trusted.pt")["extra"] == Path("somewhere")


def truncations(data: bytes) -> "list[bytes]":
    lengths = [*range(1, 40), *range(40, len(data), len(data) // 40), len(data) - 1]
    return [data[:length] for length in lengths]


@LOADERS
@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_checkpoints(load: Callable[[Path], Any], zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_last.pt"
    torch.save(state(WEIGHTS), path, _use_new_zipfile_serialization=zipped)
    for data in truncations(path.read_bytes()):
        path.write_bytes(data)
        sentence = sentence_from(load, path)
        assert "truncated or not a checkpoint" in sentence
        assert "--restore-file" in sentence


@LOADERS
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"This is no checkpoint.\n",
        b"a few words\n" * 50,
        b"model:\n  arch: transformer\n",
        b"<html><body>404</body></html>",
        b"\x89PNG\r\n\x1a\n\x00\x00",
        b"N.",
    ],
    ids=["empty", "newline", "text", "long_text", "yaml", "html", "png", "none"],
)
def test_files_that_are_no_checkpoints(
    load: Callable[[Path], Any], data: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint_best.pt"
    path.write_bytes(data)
    assert "truncated or not a checkpoint" in sentence_from(load, path)


def test_a_whole_file_is_not_blamed_for_what_fairseq_makes_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An architecture that is not registered is a KeyError of fairseq's: no reason to remove it."""
    path = save(tmp_path / "good.pt", WEIGHTS)

    def fails(_: Any) -> None:
        raise KeyError("some_other_plugin")

    monkeypatch.setattr(checkpoint_utils, "_upgrade_state_dict", fails)
    with pytest.raises(KeyError, match="some_other_plugin"):
        load_as_fairseq(path)


@LOADERS
def test_a_missing_checkpoint(load: Callable[[Path], Any], tmp_path: Path) -> None:
    assert "does not exist; give the .pt file" in sentence_from(load, tmp_path / "none.pt")


@pytest.mark.parametrize("content", [{"weights": WEIGHTS}, [1, 2], WEIGHTS["encoder.weight"]])
def test_a_torch_file_without_a_model(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(ResDualError, match="is truncated or not a checkpoint"):
        load_whole_checkpoint(path)


def test_old_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(ResDualError, match=r"torch 2\.5\.1\+cpu .* install torch 2\.6 or newer"):
        compat.check_versions()
    monkeypatch.setattr(torch, "__version__", "2.10.0")
    compat.check_versions()
