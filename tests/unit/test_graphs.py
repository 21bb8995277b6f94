"""Protects the exported functions: encoder and decoder step equal the model, in torch and ONNX."""

import shutil
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import onnxruntime
import pytest
import torch
from helpers.models import EOS, PAD, assert_close, sample, stirred
from helpers.scheme_equations import options_of
from torch import Tensor, nn

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.export import command as export
from resdual_fairseq.export.command import ENCODER, STEP, programs, write_graph
from resdual_fairseq.export.graphs import DecoderStep, Encoding

Function = Callable[..., Tuple[Tensor, Tensor]]
OPTIONS: Dict[str, Dict[str, Any]] = {
    "as_is": {},
    "pre": {"residual": "pre"},
    "post": {"residual": "post"},
    "learned_positions": {
        "encoder_learned_pos": True, "decoder_learned_pos": True, "layernorm_embedding": True,
    },
    "no_positions": {"no_token_positional_embeddings": True, "residual_alpha": 0.3},
    "unlike_widths": {
        "decoder_embed_dim": 12, "decoder_attention_heads": 3, "decoder_input_dim": 10,
        "decoder_output_dim": 6,
    },
    "noise": {
        "quant_noise_pq": 0.5, "quant_noise_pq_block_size": 4, "share_all_embeddings": True,
    },
    "layers": {"encoder_layers_to_keep": "1", "decoder_layers_to_keep": "0,2"},
    **{case: options_of(case) for case in (
        "b2t", "peri", "mix", "keel", "siamese", "hyper", "mhc", "dlcl", "learned alpha",
    )},
}  # fmt: skip
TARGET = torch.tensor([[EOS, 5, 7, 9, 4], [EOS, 6, 6, 4, 8], [EOS, 8, 4, 5, 11]])


def assert_they_compute(encoding: Function, step: Function, model: nn.Module, rows: int) -> None:
    """What the model does, on so many sentences of other lengths than those of the export."""
    source = sample(left_pad=rows != 2)["net_input"]["src_tokens"][:rows]
    target = TARGET[:rows]
    memory = model.encoder(source)
    expected = model.decoder(target, encoder_out=memory)[0].log_softmax(-1)
    y, keys_and_values = encoding(source)
    words = source.ne(PAD)
    assert_close(y[words], memory["encoder_out"][0].transpose(0, 1)[words], 1e-5)
    layers, _, _, heads, _, width = keys_and_values.shape
    past = torch.zeros(layers, 2, rows, heads, 0, width)
    for number in range(target.size(1)):
        scores, past = step(target[:, number], past, keys_and_values, ~words)
        assert_close(scores, expected[:, number], 1e-4)
    assert past.size(4) == target.size(1)


@torch.no_grad()
@pytest.mark.parametrize("name", OPTIONS)
def test_steps_with_given_keys_and_values(name: str) -> None:
    model = stirred(**OPTIONS[name]).float()
    for rows in (1, 2, 3):
        assert_they_compute(Encoding(model), DecoderStep(model), model, rows)


def test_the_model_stays_as_it_is() -> None:
    model = stirred(**OPTIONS["noise"]).float().train()
    hooks = len(model.encoder.layers[0].fc1._forward_pre_hooks)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    Encoding(model)
    DecoderStep(model)
    assert model.training and model.encoder.training
    assert len(model.encoder.layers[0].fc1._forward_pre_hooks) == hooks == 1
    assert model.encoder.embed_positions is not None
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize(
    "options", [{"cross_self_attention": True}, {"no_cross_attention": True}, {"scale_fc": True}]
)
def test_parts_that_cannot_be_exported(options: Dict[str, Any]) -> None:
    with pytest.raises(ResDualError, match=r"cannot be exported; train one without them, or use"):
        programs(stirred(**options).float())


def as_function(path: Path) -> Function:
    session = onnxruntime.InferenceSession(path)
    names = [given.name for given in session.get_inputs()]

    def call(*tensors: Tensor) -> List[Tensor]:
        arrays = [tensor.numpy() for tensor in tensors]
        return [torch.from_numpy(y) for y in session.run(None, dict(zip(names, arrays)))]

    return call  # type: ignore[return-value]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Tuple[nn.Module, Any, Path]:
    """A model, its graphs, and the folder of their ONNX files."""
    model = stirred(encoder_layers=1, decoder_layers=1).float()
    graphs, folder = programs(model), tmp_path_factory.mktemp("onnx")
    for name, graph in graphs.items():
        write_graph(name, graph, folder)
    return model, graphs, folder


@torch.no_grad()
@pytest.mark.slow
def test_graphs_of_onnx(exported: Tuple[nn.Module, Any, Path]) -> None:
    model, _, folder = exported
    encoding, step = as_function(folder / ENCODER), as_function(folder / STEP)
    for rows in (1, 3):
        assert_they_compute(encoding, step, model, rows)
    (given,) = onnxruntime.InferenceSession(folder / ENCODER).get_inputs()
    assert (given.name, given.shape) == ("source", ["rows", "source_length"])


@torch.no_grad()
@pytest.mark.slow
def test_graphs_of_a_stack_that_keeps_its_history(tmp_path: Path) -> None:
    model = stirred(**options_of("dlcl post"), encoder_layers=1, decoder_layers=1).float()
    for name, graph in programs(model).items():
        write_graph(name, graph, tmp_path)
    assert_they_compute(as_function(tmp_path / ENCODER), as_function(tmp_path / STEP), model, 3)


@torch.no_grad()
@pytest.mark.slow
def test_eight_bits_are_close_and_small(
    exported: Tuple[nn.Module, Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores move, by less than the scores of words differ by."""
    model, graphs, whole = exported
    monkeypatch.setattr(export, "programs", lambda _: graphs)
    monkeypatch.setattr(
        export, "write_graph", lambda name, _, folder: shutil.copy2(whole / name, folder)
    )
    export.write_model(model, tmp_path, int8=True)
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == [STEP, ENCODER, "model.json", "source.txt", "target.txt"]
    source = sample()["net_input"]["src_tokens"]
    found = []
    for folder in (whole, tmp_path):
        memory = as_function(folder / ENCODER)(source)[1]
        step = as_function(folder / STEP)
        found.append(step(TARGET[:, 0], memory[..., :1, :], memory, source.eq(PAD))[0])
    assert 0 < (found[1] - found[0]).abs().max() < 0.25 * found[0].std()
