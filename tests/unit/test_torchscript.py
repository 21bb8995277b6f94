"""Protects TorchScript: model and generator, scripted, saved and loaded, are the eager ones."""

import io
from argparse import Namespace
from typing import Any, Dict

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator
from helpers.models import KINDS, assert_close, build, sample, stir

OPTIONS: Dict[str, Dict[str, Any]] = {
    "as_is": {},
    "many": {
        "cross_self_attention": True,
        "layernorm_embedding": True,
        "encoder_learned_pos": True,
        "share_all_embeddings": True,
        **dict.fromkeys(("scale_attn", "scale_heads", "scale_fc", "scale_resids"), True),
    },
}


def saved_and_loaded(scripted: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    file = io.BytesIO()
    torch.jit.save(scripted, file)
    file.seek(0)
    return torch.jit.load(file)


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "name"), [*((kind, "as_is") for kind in KINDS), ("resdual", "many")]
)
def test_scripted_model(kind: str, name: str) -> None:
    model = stir(build(residual=kind, export=True, **OPTIONS[name])).float().eval()
    scripted = saved_and_loaded(torch.jit.script(model))
    for seed in (7, 8):
        net_input = sample(seed=seed)["net_input"]
        expected, extra = model(**net_input, alignment_layer=1)
        actual, scripted_extra = scripted(**net_input, alignment_layer=1)
        assert_close(actual, expected, tolerance=1e-4)
        assert_close(scripted_extra["attn"][0], extra["attn"][0], tolerance=1e-5)


@torch.no_grad()
@pytest.mark.slow
def test_scripted_generator() -> None:
    model = stir(build(export=True)).float().eval()
    generator = SequenceGenerator([model], model.decoder.dictionary, beam_size=2, max_len_b=6)
    batch = {"net_input": sample()["net_input"]}
    expected, actual = generator(batch), saved_and_loaded(torch.jit.script(generator))(batch)
    for beams, scripted_beams in zip(expected, actual):
        for beam, scripted_beam in zip(beams, scripted_beams):
            assert beam["tokens"].tolist() == scripted_beam["tokens"].tolist()
            assert_close(beam["score"], scripted_beam["score"], tolerance=1e-5)


def test_a_model_that_was_prepared_for_inference() -> None:
    """As from_pretrained does it, with options that hold None where layers want a bool."""
    model = build(export=True).float().eval()
    model.prepare_for_inference_(Namespace(generation=Namespace(beam=5, print_alignment=None)))
    torch.jit.script(model)
