"""Protects `--log-block-gradients`: its norms are those of the gradients the optimizer receives."""

import csv
import gc
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest
import torch
from helpers.language_models import build_lm
from helpers.models import build, forward, sample
from torch import Tensor, nn
from torch.optim import optimizer as torch_optimizer

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.training.gradient_log import COLUMNS, FILE, check_gradient_log, rows_before

MODULES = {
    "self_attn": ("self_attn.",),
    "cross_attn": ("encoder_attn.",),
    "ffn": ("fc1.", "fc2."),
}


def model_that_logs(folder: Path, every: int = 1, **options: Any) -> nn.Module:
    model = build(log_block_gradients=every, save_dir=str(folder), **options)
    return model.train()


def written(folder: Path) -> List[Dict[str, str]]:
    with (folder / FILE).open(newline="") as stream:
        return list(csv.DictReader(stream))


def norms(folder: Path, update: int) -> Tensor:
    rows = [row for row in written(folder) if int(row["update"]) == update]
    return torch.tensor([float(row["gradient_norm"]) for row in rows])


def by_hand(model: nn.Module, grads: Dict[str, Optional[Tensor]]) -> Tensor:
    """Encoder's blocks, then the decoder's, in order."""
    found = []
    for stack in ("encoder", "decoder"):
        for index in range(len(getattr(model, stack).layers)):
            for part, modules in MODULES.items():
                if stack == "encoder" and part == "cross_attn":
                    continue
                starts = tuple(f"{stack}.layers.{index}.{name}" for name in modules)
                squares = [
                    g.double().square().sum()
                    for name, g in grads.items()
                    if g is not None and name.startswith(starts)
                ]
                found.append(sum(squares) ** 0.5)
    return torch.tensor(found, dtype=torch.float32)


def backward(model: nn.Module, update: int) -> Dict[str, Optional[Tensor]]:
    """What a trainer does before its optimizer's step."""
    model.train()
    model.set_num_updates(update - 1)
    model.zero_grad()
    forward(model, sample()).square().mean().backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


def test_norms_are_those_computed_by_hand(tmp_path: Path) -> None:
    model = model_that_logs(tmp_path, every=3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    expected = {}
    for update in range(1, 8):
        expected[update] = by_hand(model, backward(model, update))
        optimizer.step()
    assert {int(row["update"]) for row in written(tmp_path)} == {1, 3, 6}
    for update in (1, 3, 6):
        torch.testing.assert_close(norms(tmp_path, update), expected[update], rtol=1e-5, atol=0)
    first = written(tmp_path)[4]
    assert tuple(first) == COLUMNS
    assert (first["stack"], first["block"], first["layer"]) == ("decoder", "1", "0")
    assert first["part"] == "self_attn"


def test_accumulated_and_clipped_gradients(tmp_path: Path) -> None:
    model = model_that_logs(tmp_path)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    backward(model, 1)
    forward(model, sample(seed=11)).square().mean().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    expected = by_hand(model, {name: w.grad for name, w in model.named_parameters()})
    optimizer.step()
    assert expected.norm() <= 0.01
    torch.testing.assert_close(norms(tmp_path, 1), expected, rtol=1e-5, atol=0)


class ScaledSGD(torch.optim.SGD):
    """Unscales gradients itself, as apex's optimizers do."""

    def step(self, closure: Any = None, scale: float = 1.0) -> None:
        """Its gradients are ``scale`` times too large."""


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("scale", [None, 8.0])
def test_master_copies_give_the_factor(flat: bool, scale: Optional[float], tmp_path: Path) -> None:
    """As with --fp16: the model's gradients keep the loss scale, the optimizer's copies do not."""
    model = model_that_logs(tmp_path)
    grads = backward(model, 1)
    given = [weight.detach().float() / 1024 for weight in grads.values() if weight is not None]
    if flat:
        given = [torch.cat([grad.flatten() for grad in given])]
    masters = [nn.Parameter(torch.zeros_like(grad)) for grad in given]
    for master, grad in zip(masters, given):
        master.grad = grad
    kwargs = {} if scale is None else {"scale": scale}
    ScaledSGD(masters, lr=0.1).step(**kwargs)
    expected = by_hand(model, grads) / 1024 / (scale or 1.0)
    torch.testing.assert_close(norms(tmp_path, 1), expected, rtol=1e-5, atol=0)


def test_half_precision_sums_are_wide(tmp_path: Path) -> None:
    model = model_that_logs(tmp_path).bfloat16()
    expected = by_hand(model, backward(model, 1))
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    torch.testing.assert_close(norms(tmp_path, 1), expected, rtol=1e-5, atol=0)


def test_a_language_model_logs_too(tmp_path: Path) -> None:
    model = build_lm(log_block_gradients=1, save_dir=str(tmp_path)).train()
    model.set_num_updates(0)
    model(sample()["net_input"]["prev_output_tokens"])[0].square().mean().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    rows = written(tmp_path)
    assert [(row["stack"], row["part"]) for row in rows] == [
        ("decoder", part) for _ in range(3) for part in ("self_attn", "ffn")
    ]
    fc1, fc2 = (getattr(model.decoder.layers[2], name) for name in ("fc1", "fc2"))
    grads = [weight.grad for fc in (fc1, fc2) for weight in fc.parameters()]
    expected = sum(g.square().sum() for g in grads) ** 0.5
    assert float(rows[-1]["gradient_norm"]) == pytest.approx(expected.item(), rel=1e-5)


def test_another_models_optimizer_is_not_ours(tmp_path: Path) -> None:
    model = model_that_logs(tmp_path)
    backward(model, 1)
    other = nn.Linear(2, 2)
    other(torch.ones(2)).sum().backward()
    torch.optim.SGD(other.parameters(), lr=0.1).step()
    assert not (tmp_path / FILE).exists()


def test_a_resumed_run_writes_anew_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    def updates(model: nn.Module, first: int, last: int) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for update in range(first, last + 1):
            backward(model, update)
            optimizer.step()

    updates(model_that_logs(tmp_path), 1, 5)
    with (tmp_path / FILE).open("a") as stream:
        stream.write("6,enco")  # killed as it wrote
    updates(model_that_logs(tmp_path), 4, 6)
    seen = [int(row["update"]) for row in written(tmp_path)]
    assert seen == sorted(seen)
    assert {update: seen.count(update) for update in seen} == dict.fromkeys(range(1, 7), 13)
    assert rows_before(tmp_path / FILE, 1) == []


def test_only_the_first_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resdual_fairseq.training.gradient_log.get_global_rank", lambda: 1)
    model = model_that_logs(tmp_path)
    backward(model, 1)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert not (tmp_path / FILE).exists()


def test_nothing_is_attached_where_it_is_off_or_nothing_is_trained(tmp_path: Path) -> None:
    gc.collect()
    hooks = torch_optimizer._global_optimizer_pre_hooks
    before = len(hooks)
    off = build().train()
    off.set_num_updates(1)
    decoding = build(log_block_gradients=1, save_dir=str(tmp_path))
    decoding.set_num_updates(1)  # as fairseq-generate does
    decoding.eval()
    assert off.gradient_log is None
    assert decoding.gradient_log is None
    assert len(hooks) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"log_block_gradients": 5, "ddp_backend": "fully_sharded", "save_dir": "x"},
            "--ddp-backend fully_sharded cuts into shards",
        ),
        ({"log_block_gradients": 5}, "'+model.save_dir="),
    ],
)
def test_options_that_cannot_hold(options: Dict[str, Any], message: str) -> None:
    with pytest.raises(ResDualError, match=message.replace("+", r"\+")):
        check_gradient_log(Namespace(**options))
