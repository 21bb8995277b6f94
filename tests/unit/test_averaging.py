"""Protects `resdual-average-checkpoints`: exact means, the right files, nothing half-written."""

from fractions import Fraction
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from helpers.checkpoints import save, state
from torch import Tensor

from resdual_fairseq.checkpoints import averaging
from resdual_fairseq.checkpoints.averaging import average_checkpoints, main
from resdual_fairseq.checkpoints.int8 import encoded_state
from resdual_fairseq.errors import ResDualError


def weights(seed: int, dtype: torch.dtype = torch.float32) -> Dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "encoder.weight": torch.randn(4, 3, generator=generator).to(dtype),
        "encoder.bias": (1e4 * torch.randn(3, generator=generator)).to(dtype),
        "decoder.adaptive_softmax.version": torch.LongTensor([1]),
    }


def saved(folder: Path, seeds: List[int], **options: Any) -> List[Path]:
    return [save(folder / f"checkpoint{seed}.pt", weights(seed, **options)) for seed in seeds]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 10])
def test_the_mean_is_exact(dtype: torch.dtype, count: int, tmp_path: Path) -> None:
    """Every weight is the representable number next to the mean of rational numbers."""
    mean = average_checkpoints(saved(tmp_path, list(range(count)), dtype=dtype))["model"]
    for name in ("encoder.weight", "encoder.bias"):
        columns = zip(*(weights(seed, dtype)[name].flatten().tolist() for seed in range(count)))
        expected = [float(sum(map(Fraction, column)) / count) for column in columns]
        exact = torch.tensor(expected, dtype=torch.float64).to(dtype)
        assert mean[name].dtype == dtype
        assert torch.equal(mean[name].flatten(), exact)
    assert mean["decoder.adaptive_softmax.version"].tolist() == [1]
    assert mean["decoder.adaptive_softmax.version"].dtype == torch.int64


def test_all_but_the_weights_is_the_first_checkpoints(tmp_path: Path) -> None:
    paths = saved(tmp_path, [1, 2])
    mean = average_checkpoints(paths)
    assert mean.keys() == state({}).keys()
    assert mean["last_optimizer_state"] is None
    assert mean["optimizer_history"][-1]["num_updates"] == 7
    assert mean["cfg"]["model"].arch == "resdual_transformer"


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A save-dir: epochs 1, 2, 9 and 10, updates 500 to 1500, and fairseq's two copies."""
    names = ["checkpoint1", "checkpoint2", "checkpoint9", "checkpoint10"]
    names += ["checkpoint_1_500", "checkpoint_2_1000", "checkpoint_10_1500"]
    names += [f"checkpoint.best_loss_{loss}" for loss in ("12.5", "3.1990", "4.001")]
    names += ["checkpoint_best", "checkpoint_last"]
    for number, name in enumerate(names):
        save(tmp_path / f"{name}.pt", weights(number))
    (tmp_path / "checkpoint11.pt.tmp").write_text("being written")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("epoch-checkpoints 1", ["checkpoint10"]),
        ("epoch-checkpoints 3", ["checkpoint10", "checkpoint9", "checkpoint2"]),
        ("epoch-checkpoints 2 --checkpoint-upper-bound 9", ["checkpoint9", "checkpoint2"]),
        ("epoch-checkpoints 2 --checkpoint-upper-bound 8", ["checkpoint2", "checkpoint1"]),
        ("update-checkpoints 2", ["checkpoint_10_1500", "checkpoint_2_1000"]),
        ("update-checkpoints 1 --checkpoint-upper-bound 1499", ["checkpoint_2_1000"]),
        ("best-checkpoints 2", ["checkpoint.best_loss_3.1990", "checkpoint.best_loss_4.001"]),
        (
            "best-checkpoints 5",  # as fairseq's script: no more than there are
            [f"checkpoint.best_loss_{loss}" for loss in ("3.1990", "4.001", "12.5")],
        ),
    ],
)
def test_checkpoints_of_a_run_are_picked(options: str, names: List[str], run_folder: Path) -> None:
    output = run_folder / "mean.pt"
    main(["--inputs", str(run_folder), *f"--num-{options}".split(), "--output", str(output)])
    expected = average_checkpoints([run_folder / f"{name}.pt" for name in names])["model"]
    found = averaging.load_whole_checkpoint(output)["model"]
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_best_by_the_runs_own_metric(tmp_path: Path) -> None:
    """Files may be named one by one, as with fairseq's script."""
    paths = [tmp_path / f"checkpoint.best_bleu_{bleu}.pt" for bleu in ("9.5", "10.20", "-1")]
    for seed, path in enumerate(paths):
        whole = state(weights(seed))
        whole["cfg"]["checkpoint"] = {"maximize_best_checkpoint_metric": True}
        torch.save(whole, path)
    output = tmp_path / "mean.pt"
    words = ["--inputs", *paths, "--num-best-checkpoints", 2, "--output", output]
    main([str(word) for word in words])
    found = averaging.load_whole_checkpoint(output)["model"]
    expected = average_checkpoints([paths[1], paths[0]])["model"]
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def failure(*arguments: object) -> str:
    """The sentence with which the command ends."""
    with pytest.raises(ResDualError) as end:
        main([str(argument) for argument in arguments])
    assert "\n" not in str(end.value)
    return str(end.value)


@pytest.mark.parametrize("count", [0, -1, 5])
def test_too_few_checkpoints(count: int, run_folder: Path) -> None:
    output = run_folder / "mean.pt"
    sentence = failure("--inputs", run_folder, "--num-epoch-checkpoints", count, "--output", output)
    assert f"{run_folder} holds 4 such checkpoints and {count} are to be averaged" in sentence
    assert "--keep-last-epochs" in sentence
    assert not output.exists()


def test_inputs_that_cannot_be(tmp_path: Path) -> None:
    first, second = saved(tmp_path, [1, 2])
    output = ("--output", tmp_path / "mean.pt")
    missing = tmp_path / "none.pt"
    assert f"{missing} does not exist" in failure("--inputs", first, missing, *output)
    for inputs, kind in (
        ([tmp_path / "none"], "update"),
        ([first, second], "update"),
        ([first, second], "best"),
    ):
        told = f"--num-{kind}-checkpoints picks among files of the names that fairseq-train gives"
        options = ("--inputs", *inputs, f"--num-{kind}-checkpoints", 1)
        assert told in failure(*options, *output)
    assert f"{tmp_path} holds 0 such checkpoints and 1 are to be" in failure(
        "--inputs", tmp_path, "--num-best-checkpoints", 1, *output
    )
    assert "--checkpoint-upper-bound goes with --num-epoch-checkpoints or" in failure(
        "--inputs", first, second, "--checkpoint-upper-bound", 1, *output
    )
    own = save(tmp_path / "own.pt", weights(1), residual="resdual")
    for name, value in (("residual", "post"), ("residual_alpha", 0.5)):
        options = {"residual": "resdual", name: value}
        equations = save(tmp_path / "equations.pt", weights(1), **options)
        told = f"{equations} was trained with --{name.replace('_', '-')} {value}, and {own} with"
        assert told in failure("--inputs", own, equations, *output)
    full = save(tmp_path / "full.pt", weights(1), residual="siamese")
    save(tmp_path / "bare.pt", weights(1), residual="siamese", residual_variant="bare")
    told = f"{tmp_path / 'bare.pt'} was trained with --residual-variant bare, and {full} with"
    assert told in failure("--inputs", full, tmp_path / "bare.pt", *output)
    other = save(tmp_path / "other.pt", {"encoder.weight": torch.zeros(4, 3)})
    assert f"{other} holds other weights than {first}; average checkpoints of one run" in failure(
        "--inputs", first, other, *output
    )
    wider = save(tmp_path / "wider.pt", {**weights(1), "encoder.weight": torch.zeros(1, 3)})
    assert f"{wider} holds other weights" in failure("--inputs", first, wider, *output)
    codes = save(tmp_path / "codes.pt", encoded_state(weights(1)))
    assert f"{codes} has weights of 8 bits" in failure("--inputs", first, codes, *output)
    torch.save({"a": 1}, tmp_path / "odd.pt")
    assert "is truncated or not a checkpoint" in failure("--inputs", tmp_path / "odd.pt", *output)
    nowhere = tmp_path / "none" / "mean.pt"
    assert f"{nowhere} cannot be written" in failure("--inputs", first, "--output", nowhere)
    first.write_bytes(first.read_bytes()[:900])
    assert f"{first} is truncated" in failure("--inputs", second, first, *output)
    assert not output[1].exists()


@pytest.mark.parametrize("error", [OSError("no space left"), RuntimeError("unexpected pos 64")])
def test_a_write_that_fails_leaves_the_old_file(
    error: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torch reports a full disk by a RuntimeError."""
    paths, output = saved(tmp_path, [1, 2]), tmp_path / "mean.pt"
    output.write_text("from before")

    def fails(content: Any, path: Path) -> None:
        path.write_text("half")
        raise error

    monkeypatch.setattr(torch, "save", fails)
    assert str(error) in failure("--inputs", *paths, "--output", output)
    assert output.read_text() == "from before"
    assert sorted(tmp_path.iterdir()) == sorted([*paths, output])


def test_an_input_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(ResDualError, match="is read by this command; give another --output"):
        averaging.write_whole({}, tmp_path / "a.pt", [tmp_path / "a.pt"])
