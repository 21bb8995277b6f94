"""Searches of small models, and whether two found the same."""

import copy
from typing import Any, Dict, List

import torch
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor, nn

from .models import let_sentences_end, sample, stirred

Hypotheses = List[List[Dict[str, Tensor]]]


def ready(**options: Any) -> nn.Module:
    """A model prepared for inference, in float32: in float64 the layers decode."""
    return prepared(let_sentences_end(stirred(**options)).float())


def prepared(model: nn.Module) -> nn.Module:
    """The model, whose searches hand on attention."""
    model.make_generation_fast_(need_attn=True)
    return model


def by_layers(model: nn.Module) -> nn.Module:
    """A copy whose layers compute by themselves, because of hooks that do nothing."""
    model = copy.deepcopy(model)
    for name in ("encoder", "decoder"):
        stack = getattr(model, name, None)
        if stack is not None:
            stack.layers[0].register_forward_hook(lambda *_: None)
            stack.prepare()
    return model


def search(models: List[nn.Module], **options: Any) -> Hypotheses:
    options = {"max_len_b": 45, **options}
    prefix = options.pop("prefix", None)
    generator = SequenceGenerator(models, models[0].decoder.dictionary, **options)
    return generator.generate(models, sample(), prefix_tokens=prefix)


def assert_same_hypotheses(ours: Hypotheses, theirs: Hypotheses, close: float = 1e-5) -> None:
    assert len(ours) == len(theirs) == 3
    for beams, other_beams in zip(ours, theirs):
        assert len(beams) == len(other_beams)
        for beam, other in zip(beams, other_beams):
            assert beam["tokens"].tolist() == other["tokens"].tolist()
            for key in ("positional_scores", "attention"):
                torch.testing.assert_close(beam[key], other[key], rtol=close, atol=close)
