"""A model's encoder, compiled and layer by layer."""

from typing import Any, List, Optional, Tuple

import pytest
from torch import Tensor, nn

from resdual_fairseq.native import library

from .models import PAD, sample


def encoder_outputs(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch, tokens: Optional[Tensor] = None
) -> Tuple[Tensor, Tensor]:
    """Of a batch (unless given, a padded one) at words: compiled, and layer by layer."""
    tokens = sample()["net_input"]["src_tokens"] if tokens is None else tokens
    used: List[Any] = []
    encode = library.encode
    monkeypatch.setattr(library, "encode", lambda *a: used.append(a) or encode(*a))
    found = []
    for switch in ("1", "0"):
        monkeypatch.setenv("RESDUAL_NATIVE", switch)
        found.append(model.encoder(tokens)["encoder_out"][0].transpose(0, 1)[tokens.ne(PAD)])
    assert len(used) == 1
    return found[0], found[1]
