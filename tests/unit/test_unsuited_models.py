"""Protects that the library reads only what fits, and that torch tells what does not."""

import functools
import gc
import weakref
from typing import Any, Callable, Dict, List

import pytest
import torch
from helpers.models import EOS, assert_close, build, sample, stirred
from helpers.searches import ready
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import prune
from torch.utils._pytree import tree_map

from resdual_fairseq import native
from resdual_fairseq.generation import packing
from resdual_fairseq.native import library

pytestmark = pytest.mark.skipif(native.loaded() is None, reason="the library was not compiled here")
NAN, INFINITY = float("nan"), float("inf")


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    with torch.no_grad():
        yield


def step(model: Any, state: Dict[str, Any], length: int = 1, memory: Any = None) -> Tensor:
    tokens = torch.tensor([[EOS, 5, 4]] * 3)[:, :length]
    memory = memory or model.encoder(sample()["net_input"]["src_tokens"])
    found: Tensor = model.decoder(tokens, encoder_out=memory, incremental_state=state)[0]
    return found


def projection(model: nn.Module, name: str, shape: List[int]) -> None:
    setattr(model.decoder.output_projection, name, nn.Parameter(torch.ones(shape)))


def narrow_embedding(stack: Any) -> None:
    stack.embed_tokens = nn.Embedding(stack.embed_tokens.num_embeddings, 2).eval()


NARROW = {"encoder_embed_dim": 4, "decoder_embed_dim": 4}
UNSUITED: Dict[str, Callable[[Any], Any]] = {
    "projection of other dtype": lambda model: model.decoder.output_projection.half(),
    "projection of wider dtype": lambda model: model.decoder.output_projection.double(),
    "projection's bias": lambda model: projection(model, "bias", [300]),
    "projection's width": lambda model: projection(model, "weight", [27, 3]),
    "decoder's embeddings": lambda model: narrow_embedding(model.decoder),
    "encoder's embeddings": lambda model: narrow_embedding(model.encoder),
    "layer elsewhere": lambda model: model.decoder.layers[0].fc1.to("meta"),
    "norm elsewhere": lambda model: model.encoder.layers[0].final_layer_norm.to("meta"),
    "narrower closing norm": lambda model: setattr(
        model.decoder, "layer_norm", build(**NARROW).float().eval().decoder.layer_norm
    ),
    "narrower norm": lambda model: setattr(
        model.encoder.layers[0].final_layer_norm, "normalized_shape", (4,)
    ),
    "storage given back": lambda model: (
        model.encoder.layers[0].fc1.weight.untyped_storage().resize_(0)
    ),
    "one stream only": lambda model: setattr(
        model.decoder, "layer_norm", build(residual="post").float().eval().decoder.layer_norm
    ),
}


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("unsuited", UNSUITED)
def test_torch_tells_what_does_not_fit(unsuited: str, before: bool) -> None:
    model = stirred(no_token_positional_embeddings=True).float().eval()
    if not before:
        step(model, {})
    UNSUITED[unsuited](model)
    with pytest.raises((RuntimeError, AssertionError)):
        step(model, {})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_another_dtype_during_a_search(dtype: torch.dtype) -> None:
    model = ready().eval()
    memory = model.encoder(sample()["net_input"]["src_tokens"])
    state: Dict[str, Any] = {}
    step(model, state, 1, memory)
    model.to(dtype)
    with pytest.raises(ValueError, match=r"dtype.* changed during a search; begin a new one"):
        step(model, state, 2, memory)


@pytest.mark.parametrize("change", [lambda mask: mask.to(torch.uint8), lambda mask: mask])
def test_masks_of_the_memory(change: Callable[[Tensor], Tensor]) -> None:
    model = ready().eval()
    memory = model.encoder(sample()["net_input"]["src_tokens"])
    expected = step(model, {}, 1, memory)
    (mask,) = memory["encoder_padding_mask"]
    assert mask.any()
    memory["encoder_padding_mask"] = [change(mask)]
    assert torch.equal(step(model, {}, 1, memory), expected)


@pytest.mark.parametrize("place", ["room", "decode"])
def test_a_step_that_failed_can_be_taken_again(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ready().eval()
    expected: Dict[str, Any] = {}
    for length in (1, 2):
        wanted = step(model, expected, length)
    state: Dict[str, Any] = {}
    function = getattr(library, place)

    def interrupted(*arguments: Any) -> None:
        function(*arguments)
        raise KeyboardInterrupt

    for length in (1, 2):
        with monkeypatch.context() as patch:
            memory = model.encoder(sample()["net_input"]["src_tokens"])
            patch.setattr(library, place, interrupted)
            with pytest.raises(KeyboardInterrupt):
                step(model, state, length, memory)
        found = step(model, state, length)
    assert_close(found, wanted, 1e-6)


@pytest.mark.parametrize("compiled", ["1", "0"])
def test_reordering_after_a_refused_first_step(
    compiled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESDUAL_NATIVE", compiled)
    model = ready().eval()
    memory = model.encoder(sample()["net_input"]["src_tokens"])
    state: Dict[str, Any] = {}
    with pytest.raises(ValueError, match="was given 2 rows"):
        model.decoder(torch.full((2, 1), EOS), encoder_out=memory, incremental_state=state)
    model.decoder.reorder_incremental_state_scripting(state, torch.arange(3))
    assert step(model, state, 1, memory).isfinite().all()


@pytest.mark.parametrize("value", [NAN, INFINITY])
def test_what_is_not_finite_in_silent_units_is_met(processor: str, value: float) -> None:
    model = ready(encoder_ffn_embed_dim=1100).eval()
    for layer in (*model.encoder.layers, *model.decoder.layers):
        layer.fc1.bias.uniform_(-4, 0.5)  # so that many are 0, and products leave them out
    for layer in (model.encoder.layers[0], model.decoder.layers[0]):
        layer.fc1.bias[3] = -100
        layer.fc2.weight[1, 3] = value
    assert model.encoder(torch.randint(4, 20, (12, 5)))["encoder_out"][0].isnan().all()
    assert step(model, {}).isnan().all()


def test_one_token_outside_of_a_search_has_the_weights_of_now() -> None:
    """Only a search looks at them; fairseq's optimizers change them through .data."""
    model = ready().eval()
    batch = {**sample()["net_input"], "prev_output_tokens": torch.full((3, 1), EOS)}
    step(model, {})
    before = model(**batch)[0]
    model.decoder.output_projection.weight.data.mul_(2)
    assert_close(model(**batch)[0], 2 * before, 1e-5)


class Stands(Tensor):
    """A parameter that only stands for numbers, as those of quantized and sharded models do."""

    @staticmethod
    def __new__(cls, stands_for: Tensor) -> Any:
        shape, strides = stands_for.shape, stands_for.stride()
        return Tensor._make_wrapper_subclass(cls, shape, strides, dtype=stands_for.dtype)

    def __init__(self, stands_for: Tensor) -> None:
        self.stands_for = stands_for

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [arg.stands_for if isinstance(arg, cls) else arg for arg in args]
        found = func(*given, **(kwargs or {}))
        return cls(found) if func is torch.ops.aten.detach.default else found


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("make", [Stands, Tensor.to_sparse_csr])
def test_weights_that_are_no_numbers_in_memory(make: Any, before: bool) -> None:
    model = ready().eval()
    expected = step(model, {}) if before else None
    for stack in (model.encoder, model.decoder):
        linear = stack.layers[0].fc1
        linear.weight = nn.Parameter(make(linear.weight.detach()), requires_grad=False)
    found = step(model, {})
    if expected is not None:
        assert_close(found, expected, 1e-4)
    assert found.isfinite().all()


def test_tables_that_are_no_numbers_in_memory() -> None:
    model = ready(decoder_learned_pos=True).eval()
    expected = step(model, {})
    for part in (model.decoder.embed_positions, model.decoder.embed_tokens):
        part.weight = nn.Parameter(Stands(part.weight.detach()), requires_grad=False)
        assert_close(step(model, {}), expected, 1e-5)


@pytest.mark.parametrize("part", ["embed_tokens", "embed_positions"])
def test_tables_whose_memory_was_given_back(part: str) -> None:
    model = ready(decoder_learned_pos=True).eval()
    step(model, {})
    getattr(model.decoder, part).weight.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError):
        step(model, {})


@pytest.mark.parametrize("part", ["self_attn.q_proj", "encoder_attn.v_proj", "fc2"])
@pytest.mark.parametrize("compiled", ["1", "0"])
def test_decoder_layers_of_other_tensors(
    part: str, compiled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESDUAL_NATIVE", compiled)
    model = ready().eval()
    expected = step(model, {})
    linear = model.decoder.layers[1].get_submodule(part)
    linear.weight = nn.Parameter(Stands(linear.weight.detach()), requires_grad=False)
    state: Dict[str, Any] = {}
    assert_close(step(model, state), expected, 1e-4)
    assert not any(kept.get("steps") for kept in state.values())


def test_many_models_at_once() -> None:
    """By torch.func's vmap, whose tensors are no numbers in memory."""
    models = [stirred(seed=seed).float().eval() for seed in (1, 2)]
    tokens = sample()["net_input"]["src_tokens"]
    weights = [dict(model.encoder.named_parameters()) for model in models]
    stacked = {name: torch.stack([one[name] for one in weights]) for name in weights[0]}

    def encode(weights: Dict[str, Tensor]) -> Tensor:
        found: Tensor = functional_call(models[0].encoder, weights, tokens)["encoder_out"][0]
        return found

    expected = [model.encoder(tokens)["encoder_out"][0] for model in models]
    assert_close(torch.func.vmap(encode)(stacked), torch.stack(expected), 1e-4)


def test_backward_hooks_come_and_go() -> None:
    model = ready().eval()
    step(model, {})
    hook = model.decoder.layers[0].self_attn.register_full_backward_hook(lambda *_: None)
    assert packing.packed_stack(model.decoder) is None
    hook.remove()
    assert packing.packed_stack(model.decoder) is not None


class Spreads(Stands):
    """One of which all that is computed only stands for numbers, too, as with sharded tensors."""

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def numbers(value: Any) -> Any:
            return value.stands_for if isinstance(value, cls) else value

        given, named = tree_map(numbers, (args, kwargs or {}))
        return tree_map(lambda x: cls(x) if isinstance(x, Tensor) else x, func(*given, **named))


def test_a_memory_that_is_no_numbers_in_memory() -> None:
    model = ready().eval()
    memory = model.encoder(sample()["net_input"]["src_tokens"])
    expected = step(model, {}, 1, memory)
    memory["encoder_out"] = [Spreads(memory["encoder_out"][0].contiguous())]
    found: Any = step(model, {}, 1, memory)
    assert_close(found.stands_for, expected, 1e-4)


def test_tokens_elsewhere() -> None:
    """Torch refuses those of another device than the table's."""
    model = ready().eval()
    memory = model.encoder(sample()["net_input"]["src_tokens"])
    tokens = torch.full((3, 1), EOS, device="meta")
    with pytest.raises((RuntimeError, NotImplementedError)):
        model.decoder(tokens, encoder_out=memory, incremental_state={})[0].tolist()


@pytest.mark.parametrize("names", [("weight",), ("bias",), ("weight", "bias")])
def test_a_closing_norm_without_weights(names: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ready().eval()
    for name in names:
        setattr(model.decoder.layer_norm, name, None)
    found = step(model, {})
    monkeypatch.setenv("RESDUAL_NATIVE", "0")
    assert_close(found, step(model, {}), 1e-4)


def test_layers_that_were_pruned_once_are_taken() -> None:
    model = ready().eval()
    linear = model.decoder.layers[0].fc1
    prune.l1_unstructured(linear, "weight", 0.3)
    assert packing.packed_stack(model.decoder) is None
    prune.remove(linear, "weight")
    assert packing.packed_stack(model.decoder) is not None


def halve(model: nn.Module, x: Tensor) -> Tensor:
    """What refers to the model that it is a method of."""
    assert not model.training
    return 0.5 * x


def test_a_replaced_method_keeps_no_model_alive() -> None:
    model = ready().eval()
    model.encoder.layers[0].feed_forward = functools.partial(halve, model)
    step(model, {})
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_checkpointed_model_is_decoded_as_quickly() -> None:
    """What saves memory in training is not in the way of a search."""
    for options in ({"checkpoint_activations": True}, {"offload_activations": True}):
        model = build(**options).float().eval()
        for stack in (model.encoder, model.decoder):
            assert "forward" in stack.layers[0].__dict__
            assert packing.packed_stack(stack) is not None
        state: Dict[str, Any] = {}
        step(model, state)
        assert any(isinstance(kept.get("steps"), native.NativeSteps) for kept in state.values())
