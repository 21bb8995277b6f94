"""Protects the streams as plain values: no state on modules, none lost in checkpointing."""

import copy
import pickle
from typing import Any, Dict, List, Tuple

import pytest
import torch
from helpers.models import (
    KINDS,
    PAD,
    assert_close,
    assert_same_gradients,
    build,
    forward,
    gradients,
    sample,
    sentences,
    shifted,
    stir,
    stirred,
)
from torch import Tensor, nn


def output_and_gradients(model: nn.Module, seed: int) -> Tuple[Tensor, Dict[str, Any]]:
    torch.manual_seed(seed)
    model.zero_grad()
    output = forward(model, sample())
    output.square().mean().backward()
    return output.detach(), gradients(model)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["checkpoint_activations", "offload_activations"])
@pytest.mark.parametrize("more", [{}, {"cross_self_attention": True}, {"decoder_layerdrop": 0.4}])
def test_activation_checkpointing_changes_no_gradient(
    kind: str, how: str, more: Dict[str, Any]
) -> None:
    options: Dict[str, Any] = {"residual": kind, "dropout": 0.3, **more}
    plain = stir(build(**options)).train()
    checkpointed = stir(build(**{**options, how: True})).train()
    expected, expected_gradients = output_and_gradients(plain, seed=2)
    actual, actual_gradients = output_and_gradients(checkpointed, seed=2)
    assert_close(actual, expected)
    assert_same_gradients(actual_gradients, expected_gradients)


@pytest.mark.parametrize("how", ["checkpoint_activations", "offload_activations"])
def test_checkpointing_carries_gradients_through_either_stream(how: str) -> None:
    """A layer alone: the gradient of x through x alone, d alone, and both."""
    options: Dict[str, Any] = {how: True}
    plain, checkpointed = stir(build()).train(), stir(build(**options)).train()
    x, d = torch.randn(2, 5, 3, 8, dtype=torch.float64)
    for weights in ((1.0, 0.0), (0.0, 1.0), (1.0, 2.0)):
        found = []
        for model in (plain, checkpointed):
            inputs = [x.clone().requires_grad_(), d.clone().requires_grad_()]
            outputs = model.encoder.layers[0](*inputs, None)
            sum(w * y.pow(3).sum() for w, y in zip(weights, outputs)).backward()
            found.append([z.grad for z in inputs])
        for expected, actual in zip(*found):
            if expected is None:
                assert actual is None or not actual.any()
            else:
                assert_close(actual, expected)


@pytest.mark.usefixtures("exact_softmax")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left_pad", [False, True])
def test_a_batch_equals_its_sentences_one_by_one(kind: str, left_pad: bool) -> None:
    model = stirred(residual=kind)
    source = sentences([2, 7, 5, 3], seed=1, left_pad=left_pad)
    previous = shifted(sentences([6, 2, 4, 3], seed=2))
    together = model(source, None, previous)[0]
    for row, (from_, to) in enumerate(zip(source, previous)):
        from_, to = from_[from_.ne(PAD)].unsqueeze(0), to[to.ne(PAD)].unsqueeze(0)
        alone = model(from_, None, to)[0]
        assert_close(together[row, : to.size(1)], alone[0])


@pytest.mark.usefixtures("exact_softmax")
def test_padding_does_not_reach_the_gradients() -> None:
    """Padding to longer batches: the same gradients."""
    model = stirred()
    source = sentences([4, 6], seed=1)
    previous = shifted(sentences([5, 3], seed=2))
    found = []
    for extra in (0, 4):
        model.zero_grad()
        pads = torch.full((2, extra), PAD)
        output = model(torch.cat((source, pads), 1), None, torch.cat((previous, pads), 1))[0]
        output[:, :5][previous.ne(PAD)].square().sum().backward()
        found.append({name: g.clone() for name, g in gradients(model).items() if g is not None})
    assert_same_gradients(found[1], found[0])


@pytest.mark.parametrize("kind", KINDS)
def test_interleaved_passes_do_not_mix(kind: str) -> None:
    model = stirred(residual=kind)
    first, second = sample(seed=3)["net_input"], sample(seed=11)["net_input"]
    expected = [model(**batch)[0] for batch in (first, second)]
    memories = [model.encoder(batch["src_tokens"]) for batch in (first, second)]
    decoded = [
        model.decoder(batch["prev_output_tokens"], encoder_out=memory)[0]
        for batch, memory in zip((second, first), reversed(memories))
    ]
    assert torch.equal(decoded[1], expected[0])
    assert torch.equal(decoded[0], expected[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_inside_a_pass_changes_nothing(kind: str) -> None:
    model = stirred(residual=kind)
    batch, other = sample(seed=3), sample(seed=11)
    expected, expected_other = forward(model, batch), forward(model, other)
    inner: List[Tensor] = []

    def run_another(module: nn.Module, inputs: Any, output: Any) -> None:
        handle.remove()
        inner.append(forward(model, other))

    for module in (model.encoder.layers[0], model.decoder.layers[1].final_layer_norm):
        handle = module.register_forward_hook(run_another)
        assert torch.equal(forward(model, batch), expected)
    assert len(inner) == 2
    assert all(torch.equal(output, expected_other) for output in inner)


def tensors_on_modules(model: nn.Module) -> Dict[str, Any]:
    """Every attribute of every module that is no parameter, buffer or child."""
    skipped = ("_parameters", "_buffers", "_modules", "_future_mask")  # the last is fairseq's
    return {
        f"{name}.{key}": value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if key not in skipped
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_leaves_no_trace_on_the_modules(kind: str) -> None:
    model = stir(build(residual=kind, dropout=0.1)).train()
    before = tensors_on_modules(model)
    forward(model, sample()).sum().backward()
    after = tensors_on_modules(model)
    assert before.keys() == after.keys()
    assert all(after[name] is value for name, value in before.items())
    assert not any(isinstance(value, Tensor) for value in after.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_compute_the_same_and_share_nothing(kind: str, clone: Any) -> None:
    model = stirred(residual=kind)
    forward(model, sample())
    twin = clone(model)
    assert torch.equal(forward(twin, sample()), forward(model, sample()))
    forward(twin, sample()).sum().backward()
    assert all(gradient is None for gradient in gradients(model).values())
    assert twin.encoder.layer_norm is not model.encoder.layer_norm


@pytest.mark.parametrize("kind", KINDS)
def test_layers_take_and_return_the_streams(kind: str) -> None:
    model = stirred(residual=kind)
    x = torch.randn(5, 3, 8, dtype=torch.float64)
    streams = model.encoder.layer_norm.init_streams(x)
    assert (streams[1] is None) is (kind != "resdual")
    streams = model.encoder.layers[0](*streams, None)
    assert (streams[1] is None) is (kind != "resdual")
    streams = model.decoder.layers[0](*model.decoder.layer_norm.init_streams(x), x)[:2]
    assert (streams[1] is None) is (kind != "resdual")
    assert streams[0].shape == x.shape
