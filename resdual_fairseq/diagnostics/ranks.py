"""How many directions a representation uses, and how alike two of them are.

Both measures need only second moments (C x C), which batches add to: no token is kept.
"""

from typing import Optional

import torch
from torch import Tensor


class Moments:
    """Sums over tokens of z, z z^T, and w z^T with an earlier representation w of the tokens."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor = torch.zeros(())
        self.square: Tensor = torch.zeros(())
        self.cross: Optional[Tensor] = None

    def add(self, z: Tensor, before: Optional[Tensor] = None) -> None:
        """Take in tokens.

        Args:
            z: tokens x C.
            before: tokens x C', or None where nothing came before.
        """
        z = z.detach().double()
        self.count += len(z)
        self.total = self.total + z.sum(dim=0).cpu()
        self.square = self.square + (z.T @ z).cpu()
        if before is not None:
            cross = (before.detach().double().T @ z).cpu()
            self.cross = cross if self.cross is None else self.cross + cross

    def covariance(self) -> Tensor:
        """C x C, centred and summed over tokens."""
        return centred(self.square, self.total, self.total, self.count)


def effective_rank(moments: Moments) -> float:
    """exp(entropy of p), p_i = sigma_i / sum of sigma: 1 to C (Roy & Vetterli 2007)."""
    variances = torch.linalg.eigvalsh(moments.covariance()).clamp(min=0)
    # Below this, an eigenvalue is rounding of the sums.
    variances = variances[variances > variances.max() * 1e-12]
    share = variances.sqrt() / variances.sqrt().sum()
    return torch.exp(-(share * share.log()).sum()).item()


def linear_cka(before: Moments, after: Moments) -> float:
    """|X^T Y|^2 / (|X^T X| |Y^T Y|) in Frobenius norms, X and Y centred (Kornblith et al. 2019).

    Args:
        before: of X.
        after: of Y, which was given X as what came before.
    """
    assert after.cross is not None
    cross = centred(after.cross, before.total, after.total, after.count)
    norms = before.covariance().norm() * after.covariance().norm()
    return (cross.square().sum() / norms).item()


def centred(square: Tensor, left: Tensor, right: Tensor, count: int) -> Tensor:
    """Sums of (a - mean a)(b - mean b)^T out of sums of a b^T, a and b."""
    return square - torch.outer(left, right) / count
