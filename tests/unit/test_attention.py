"""Protects fused attention: fairseq's numbers and gradients, and only where it applies."""

from typing import Any, Dict, Optional

import pytest
import torch
from fairseq.modules import MultiheadAttention
from fairseq.modules.quant_noise import quant_noise
from helpers.models import assert_close, build, forward, sample
from torch import Tensor

from resdual_fairseq.generation.plain import can_fuse
from resdual_fairseq.model import attention as attention_module
from resdual_fairseq.model import layers
from resdual_fairseq.model.attention import fused_attention

T, S, B, C, HEADS = 5, 7, 3, 8, 2


def attention(**options: Any) -> MultiheadAttention:
    torch.manual_seed(3)
    options = {"self_attention": True, **options}
    return MultiheadAttention(C, HEADS, **options).double().eval()


def plain(
    module: MultiheadAttention,
    x: Tensor,
    memory: Tensor,
    padding: Optional[Tensor],
    future: Optional[Tensor],
) -> Tensor:
    """Vaswani et al. 2017, equation 1, head by head."""
    q, k, v = module.q_proj(x), module.k_proj(memory), module.v_proj(memory)
    width = C // HEADS
    heads = []
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        logits = torch.einsum("tbc,sbc->bts", q[..., part], k[..., part]) / width**0.5
        if padding is not None:
            logits = logits.masked_fill(padding[:, None, :], float("-inf"))
        if future is not None:
            logits = logits + future
        heads.append(torch.einsum("bts,sbc->tbc", logits.softmax(dim=-1), v[..., part]))
    return module.out_proj(torch.cat(heads, dim=-1))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("widest_joined", [C, 0])
def test_equation_and_gradients(
    padded: bool, causal: bool, cross: bool, widest_joined: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_module, "WIDEST_JOINED", widest_joined)
    module = attention()
    x = torch.randn(T, B, C, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(S, B, C, dtype=torch.float64, requires_grad=True) if cross else x
    length = memory.size(0)
    padding = future = None
    if padded:
        padding = torch.arange(length) >= torch.tensor([[length], [3], [1]])
    if causal:
        future = torch.full((T, length), float("-inf"), dtype=torch.float64).triu(1)
    leaves = [*module.parameters(), x, *([memory] if cross else [])]
    found = []
    for compute in (fused_attention, plain):
        y = compute(module, x, memory, padding, future)
        found.append((y, torch.autograd.grad((y * y.detach().cos()).sum(), leaves)))
    assert_close(found[0][0], found[1][0])
    for ours, theirs in zip(found[0][1], found[1][1]):
        assert_close(ours, theirs)


def test_other_width_of_the_memory() -> None:
    module = attention(self_attention=False, encoder_decoder_attention=True, kdim=6, vdim=6)
    x, memory = torch.randn(T, B, C).double(), torch.randn(S, B, 6).double()
    assert_close(fused_attention(module, x, memory), plain(module, x, memory, None, None))


CHANGED: Dict[str, Any] = {
    "bias_kv": lambda: attention(add_bias_kv=True),
    "zero_attn": lambda: attention(add_zero_attn=True),
    "quant_noise": lambda: attention(q_noise=0.5, qn_block_size=4),
    "no_bias": lambda: attention(bias=False),
    "subclass": lambda: type("Sparse", (MultiheadAttention,), {})(C, HEADS, self_attention=True),
}


@pytest.mark.parametrize("name", CHANGED)
def test_changed_attention_stays_with_the_host(name: str) -> None:
    assert can_fuse(attention())
    assert not can_fuse(CHANGED[name]())


def test_hooks_and_replaced_projections_stay_with_the_host() -> None:
    module = attention()
    module.k_proj.register_forward_hook(lambda *_: None)
    assert not can_fuse(module)
    module = attention()
    module.out_proj = torch.ao.nn.quantized.dynamic.Linear(C, C)
    assert not can_fuse(module)
    module = attention()
    module.v_proj = quant_noise(module.v_proj, 0.1, 4)
    assert not can_fuse(module)


@pytest.mark.parametrize("residual", ["resdual", "post", "pre"])
def test_whole_model_with_and_without(residual: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, where cross-attention is fused too; the padded batch has sources of padding."""
    model = build(residual=residual).float()
    batch = sample()
    outputs = [forward(model, batch)]
    monkeypatch.setattr(layers, "can_fuse", lambda module: False)
    outputs.append(forward(model, batch))
    real = batch["target"].ne(1)
    assert_close(outputs[0][real], outputs[1][real], tolerance=2e-5)


def test_dropout_is_applied_in_training_alone() -> None:
    module = attention(dropout=0.5)
    x = torch.randn(T, B, C).double()
    still = [fused_attention(module, x, x) for _ in range(2)]
    assert torch.equal(*still)
    module.train()
    assert not torch.equal(fused_attention(module, x, x), fused_attention(module, x, x))


def test_products_in_one_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A regression guard that counts: four products in an encoder layer, six in a decoder's."""
    model = build(encoder_layers=1, decoder_layers=1).float().train()
    calls = []
    linear = torch.nn.functional.linear

    def counted(*arguments: Any) -> Tensor:
        calls.append(arguments)
        return linear(*arguments)

    monkeypatch.setattr(torch.nn.functional, "linear", counted)
    batch = sample()["net_input"]
    model.encoder(batch["src_tokens"])
    assert len(calls) == 4


@pytest.mark.parametrize("name", ["q_proj", "k_proj", "v_proj"])
def test_nan_stays_nan(name: str) -> None:
    """Also where nothing is hidden, which torch's fused attention makes 0 on a CPU."""
    module = attention().float().eval()
    module.get_submodule(name).weight.data[0, 1] = float("nan")
    x = torch.randn(5, 2, module.embed_dim)
    assert fused_attention(module, x, x).isnan().all()
