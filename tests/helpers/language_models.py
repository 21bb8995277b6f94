"""Tiny language models of this package and of fairseq, and the plain equations of one."""

from argparse import Namespace
from typing import Any, Callable, Dict, List, Tuple

import torch
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from torch import Tensor, nn

from resdual_fairseq.language_model import LANGUAGE_MODEL

from .equations import Block, Function, PlainModel
from .models import PAD, sentences, shifted, stir, task

HOST = "transformer_lm"
TINY: Dict[str, Any] = {
    "decoder_embed_dim": 8,
    "decoder_input_dim": 8,
    "decoder_output_dim": 8,
    "decoder_ffn_embed_dim": 12,
    "decoder_attention_heads": 2,
    "decoder_layers": 3,
    "dropout": 0.0,
    "max_target_positions": 64,
}

OPTIONS: Dict[str, Dict[str, Any]] = {
    "as_is": {},
    "dropout": {"dropout": 0.3, "attention_dropout": 0.2, "activation_dropout": 0.1},
    "gelu": {"activation_fn": "gelu"},
    "share_embeddings": {"share_decoder_input_output_embed": True},
    "learned_positions": {"decoder_learned_pos": True},
    "no_positions": {"no_token_positional_embeddings": True},
    "layernorm_embedding": {"layernorm_embedding": True, "no_scale_embedding": True},
    "input_and_output_dim": {"decoder_input_dim": 6, "decoder_output_dim": 10},
    "layerdrop": {"decoder_layerdrop": 0.4},
    "layers_to_keep": {"decoder_layers_to_keep": "0,2"},
    "quant_noise": {"quant_noise_pq": 0.4, "quant_noise_pq_block_size": 2},
    "checkpoint_activations": {"checkpoint_activations": True, "dropout": 0.3},
    "all_scales": dict.fromkeys(("scale_attn", "scale_heads", "scale_fc", "scale_resids"), True),
    "no_decoder_final_norm": {"no_decoder_final_norm": True},
    "adaptive_softmax": {"adaptive_softmax_cutoff": "8,16", "adaptive_softmax_dropout": 0.2},
    "adaptive_both_tied": {
        "adaptive_input": True,
        "adaptive_input_cutoff": "8,16",
        "adaptive_input_factor": 2,
        "adaptive_softmax_cutoff": "8,16",
        "adaptive_softmax_factor": 2,
        "tie_adaptive_weights": True,
        "tie_adaptive_proj": True,
    },
    "character_embeddings": {
        "character_embeddings": True,
        "character_filters": "[(1, 4), (2, 4)]",
    },
}

CELLS = [
    (kind, name)
    for kind in ("post", "pre")
    for name in OPTIONS
    if kind == "pre" or name != "no_decoder_final_norm"
]


def build_lm(arch: str = LANGUAGE_MODEL, seed: int = 1, **options: Any) -> nn.Module:
    """A model as a command line would build it, tiny unless told, in float64."""
    torch.manual_seed(seed)
    args = Namespace(arch=arch, **{**TINY, **options})
    before = getattr(args, "decoder_normalize_before", None)
    ARCH_CONFIG_REGISTRY[arch](args)
    if arch == HOST:
        ARCH_CONFIG_REGISTRY[f"{HOST}_gpt2_tiny"](args)  # fairseq fills its defaults there alone
        args.decoder_normalize_before = before
    return ARCH_MODEL_REGISTRY[arch].build_model(args, task()).double()


def build_host_lm(kind: str, **options: Any) -> nn.Module:
    defaults = {"activation_fn": "relu", "attention_dropout": 0.0, "decoder_layerdrop": 0.0}
    filters = {"character_embedding_dim": 4, "char_embedder_highway_layers": 2}
    return build_lm(
        HOST, decoder_normalize_before=kind == "pre", **{**defaults, **filters, **options}
    )


def lm_pair(kind: str, **options: Any) -> Tuple[nn.Module, nn.Module]:
    """This package's model and fairseq's, both with fairseq's moved weights."""
    host = stir(build_host_lm(kind, **options))
    model = build_lm(residual=kind, **options)
    model.load_state_dict(host.state_dict())
    return model, host


def lm_sample(seed: int = 7) -> Dict[str, Any]:
    """A batch as fairseq's language modeling task collates it, padded on the right."""
    target = sentences([5, 6, 3], seed)
    previous = shifted(target)
    return {
        "id": torch.arange(3),
        "nsentences": 3,
        "ntokens": int(target.ne(PAD).sum()),
        "net_input": {"src_tokens": previous, "src_lengths": target.ne(PAD).sum(dim=1)},
        "target": target,
    }


class PlainLanguageModel(PlainModel):
    """The equations of a decoder that has no memory."""

    def __init__(
        self, model: nn.Module, join: Callable[..., Tensor], options: Dict[str, Any]
    ) -> None:
        super().__init__(model, join, {**TINY, **options}, kept={})

    def logits(self, previous: Tensor) -> Tensor:
        """B x T x V of B x T."""
        x = self.embed("decoder", previous)
        stack: List[Block] = []
        for index in range(self.options["decoder_layers"]):
            layer = f"decoder.layers.{index}"
            looks: Function = self.decoder_attention(layer, previous.eq(PAD), x, previous.eq(PAD))
            stack.append(self.block(layer, "self_attn", looks))
            stack.append(self.block(layer, "final", self.feed_forward(layer)))
        x = self.run("decoder", x, stack)
        return x @ self.weights["decoder.output_projection.weight"].T
