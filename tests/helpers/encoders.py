"""A model's encoder, compiled and layer by layer."""

from typing import Optional, Tuple

from torch import Tensor, nn

from .models import PAD, sample
from .searches import by_layers, prepared


def encoder_outputs(model: nn.Module, tokens: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
    """Of a batch (unless given, a padded one) at words: compiled, and layer by layer."""
    tokens = sample()["net_input"]["src_tokens"] if tokens is None else tokens
    compiled = prepared(model)
    assert compiled.encoder.packed is not None
    found = [
        one.encoder(tokens)["encoder_out"][0].transpose(0, 1)[tokens.ne(PAD)]
        for one in (compiled, by_layers(compiled))
    ]
    return found[0], found[1]
