"""fairseq's own `transformer` beside this package's model, on the same weights."""

from typing import Any, Dict, Tuple

import torch
from fairseq.criterions import FairseqCriterion
from fairseq.criterions.adaptive_loss import AdaptiveLoss
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from torch import Tensor, nn

from .models import assert_close, assert_same_gradients, build, gradients, stir, task

HOST = "transformer"
BASELINES = ("post", "pre")

OPTIONS: Dict[str, Dict[str, Any]] = {
    "as_is": {},
    "dropout": {"dropout": 0.3, "attention_dropout": 0.2, "activation_dropout": 0.1},
    "relu_dropout": {"dropout": 0.2, "relu_dropout": 0.3},
    "gelu": {"activation_fn": "gelu"},
    "share_all_embeddings": {"share_all_embeddings": True},
    "share_decoder_embeddings": {"share_decoder_input_output_embed": True},
    "merge_src_tgt_embed": {"merge_src_tgt_embed": True},
    "learned_positions": {"encoder_learned_pos": True, "decoder_learned_pos": True},
    "no_positions": {"no_token_positional_embeddings": True},
    "layernorm_embedding": {"layernorm_embedding": True, "dropout": 0.1},
    "no_scale_embedding": {"no_scale_embedding": True},
    "layerdrop": {"encoder_layerdrop": 0.4, "decoder_layerdrop": 0.4, "encoder_layers": 4},
    "quant_noise": {"quant_noise_pq": 0.4, "quant_noise_pq_block_size": 4},
    "adaptive_softmax": {
        "adaptive_softmax_cutoff": "8,16",
        "adaptive_softmax_dropout": 0.2,
        "encoder_embed_dim": 16,
    },
    "adaptive_softmax_factor": {"adaptive_softmax_cutoff": "8,16", "adaptive_softmax_factor": 2},
    "tie_adaptive_proj": {
        "adaptive_softmax_cutoff": "8,16",
        "adaptive_softmax_factor": 2,
        "tie_adaptive_proj": True,
    },
    "cross_self_attention": {"cross_self_attention": True},
    "cross_self_attention_alone": {"cross_self_attention": True, "no_cross_attention": True},
    "no_cross_attention": {"no_cross_attention": True},
    "checkpoint_activations": {"checkpoint_activations": True, "dropout": 0.3},
    "offload_activations": {"offload_activations": True, "dropout": 0.3},
    "no_decoder_final_norm": {"no_decoder_final_norm": True},
    "scale_attn": {"scale_attn": True},
    "scale_heads": {"scale_heads": True},
    "scale_fc": {"scale_fc": True},
    "scale_resids": {"scale_resids": True},
    "unlike_sides": {
        "encoder_layers": 1,
        "decoder_embed_dim": 12,
        "decoder_ffn_embed_dim": 10,
        "decoder_attention_heads": 3,
        "decoder_layers": 4,
    },
    "output_dim": {"decoder_output_dim": 6},
    "input_and_output_dim": {
        "merge_src_tgt_embed": True,  # the one way to another width of decoder embeddings
        "decoder_embed_dim": 12,
        "decoder_output_dim": 8,
        "decoder_input_dim": 8,
    },
    "layers_to_keep": {
        "encoder_layers": 4,
        "encoder_layers_to_keep": "0,2,3",
        "decoder_layers_to_keep": "1",
    },
}
"""What fairseq itself cannot do is left out: ``tie_adaptive_weights`` (its encoder-decoder has no
adaptive input to tie to), adaptive softmax with shared embeddings (its checkpoints do not load)."""

CELLS = [
    (kind, name)
    for kind in BASELINES
    for name in OPTIONS
    if kind == "pre" or name != "no_decoder_final_norm"
]


def loss_and_gradients(
    model: nn.Module, batch: Dict[str, Any], seed: int
) -> Tuple[Tensor, Dict[str, Any]]:
    """One training step's loss; the seed decides dropout, LayerDrop and quantization noise."""
    criterion: FairseqCriterion = LabelSmoothedCrossEntropyCriterion(task(), False, 0.1)
    if model.decoder.adaptive_softmax is not None:
        criterion = AdaptiveLoss(task(), sentence_avg=False)
    model.train()
    model.zero_grad()
    torch.manual_seed(seed)
    loss, _, _ = criterion(model, batch)
    loss.backward()
    return loss.detach(), gradients(model)


def assert_same_training(model: nn.Module, host: nn.Module, batch: Dict[str, Any]) -> None:
    for seed in (1, 2):
        loss, grads = loss_and_gradients(model, batch, seed)
        host_loss, host_grads = loss_and_gradients(host, batch, seed)
        assert_close(loss, host_loss)
        assert_same_gradients(grads, host_grads)


def pair(kind: str, **options: Any) -> Tuple[nn.Module, nn.Module]:
    """This package's model and fairseq's, both with fairseq's moved weights."""
    host = stir(build_host(kind, **options))
    model = build(residual=kind, **options)
    model.load_state_dict(host.state_dict())
    return model, host


def build_host(kind: str, **options: Any) -> nn.Module:
    before = kind == "pre"
    norms = {"encoder_normalize_before": before, "decoder_normalize_before": before}
    return build(HOST, **norms, **options)
