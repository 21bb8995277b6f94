"""Protects effective rank and CKA: known values, and sums over batches in place of all tokens."""

import pytest
import torch
from torch import Tensor

from resdual_fairseq.diagnostics.ranks import Moments, effective_rank, linear_cka


def noise(tokens: int, width: int, seed: int) -> Tensor:
    return torch.randn(tokens, width, generator=torch.Generator().manual_seed(seed)).double()


def moments_of(*batches: Tensor) -> Moments:
    moments = Moments()
    for batch in batches:
        moments.add(batch)
    return moments


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_equal_directions_count_one_each(rank: int) -> None:
    directions = torch.linalg.qr(noise(40, rank, seed=1) - noise(40, rank, seed=1).mean(dim=0)).Q
    z = directions @ torch.linalg.qr(noise(8, 8, seed=2)).Q[:rank]
    assert effective_rank(moments_of(z + 5.0)) == pytest.approx(rank, abs=1e-6)


def test_unequal_directions() -> None:
    """Singular values 2, 1, 1: entropy of 1/2, 1/4, 1/4 is 1.5 log 2."""
    z = torch.zeros(6, 4).double()
    for column, sigma in enumerate((2.0, 1.0, 1.0)):
        z[2 * column, column], z[2 * column + 1, column] = sigma, -sigma
    assert effective_rank(moments_of(z)) == pytest.approx(2**1.5)


def test_batches_add_up() -> None:
    z = noise(50, 6, seed=3)
    parts = moments_of(z[:13], z[13:14], z[14:])
    assert effective_rank(parts) == pytest.approx(effective_rank(moments_of(z)))


def cka(x: Tensor, y: Tensor, cut: int = 20) -> float:
    before, after = Moments(), Moments()
    for rows in (slice(None, cut), slice(cut, None)):
        before.add(x[rows])
        after.add(y[rows], x[rows])
    return linear_cka(before, after)


def test_cka_does_not_see_rotation_scale_and_shift() -> None:
    x = noise(60, 5, seed=4)
    rotation = torch.linalg.qr(noise(5, 5, seed=5)).Q
    assert cka(x, 3 * x @ rotation + 7) == pytest.approx(1)


def test_cka_is_its_definition_on_all_tokens() -> None:
    x, y = noise(60, 5, seed=6), noise(60, 3, seed=7)
    y = y + x[:, :3]
    k, kernel = ((v - v.mean(dim=0)) @ (v - v.mean(dim=0)).T for v in (x, y))
    expected = (k * kernel).sum() / (k.norm() * kernel.norm())
    assert cka(x, y) == pytest.approx(expected.item())


def test_cka_of_independent_directions_is_0() -> None:
    columns = torch.linalg.qr(noise(30, 4, seed=8) - noise(30, 4, seed=8).mean(dim=0)).Q
    assert cka(columns[:, :2], columns[:, 2:]) == pytest.approx(0, abs=1e-12)
