"""The encoder-decoder model `resdual_transformer`.

Embeddings, dropout, output projection, padding, state-dict names and checkpoints are those of
fairseq's ``transformer``; the two stacks are the package's own because their loops carry two
streams.
"""

from argparse import ArgumentParser, Namespace
from typing import Any

from fairseq.data import Dictionary
from fairseq.models import register_model
from fairseq.models.transformer import TransformerConfig, TransformerModel
from fairseq.tasks import FairseqTask
from torch import nn

from .base import ResDualModel, initialize_embeddings, namespace
from .generation.decoder import AcceleratedDecoder
from .generation.encoder import AcceleratedEncoder
from .options import Options, add_model_options, settle_options

MODEL = "resdual_transformer"


@register_model(MODEL)
class ResDualTransformerModel(ResDualModel, TransformerModel):
    """Encoder-decoder Transformer with dual residual connections (Xie et al. 2023).

    Takes every option of fairseq's ``transformer`` and those of options.py. With ``--residual
    post`` or ``pre`` it computes what fairseq's ``transformer`` computes on the same weights.
    """

    @classmethod
    def from_pretrained(cls, *args: object, **options: object) -> Any:
        """As fairseq's; its searches hand on attention, for which its user may ask later."""
        hub = super().from_pretrained(*args, **options)
        for model in hub.models:
            for layer in model.decoder.layers.children():
                layer.need_attn = True
        return hub

    @classmethod
    def add_args(cls, parser: ArgumentParser) -> None:
        """Add the model's options to fairseq's command line."""
        super().add_args(parser)
        add_model_options(parser)

    @classmethod
    def build_model(cls, args: Options, task: FairseqTask) -> "ResDualTransformerModel":
        """Build the model from a command line's namespace or a hydra config.

        Raises:
            ResDualError: an option that cannot hold.
        """
        args = namespace(args)
        settle_options(args)
        model = super().build_model(args, task)
        initialize_embeddings(model, args)
        return model

    @classmethod
    def build_encoder(
        cls, args: Namespace, src_dict: Dictionary, embed_tokens: nn.Module
    ) -> AcceleratedEncoder:
        return AcceleratedEncoder(TransformerConfig.from_namespace(args), src_dict, embed_tokens)

    @classmethod
    def build_decoder(
        cls, args: Namespace, tgt_dict: Dictionary, embed_tokens: nn.Module
    ) -> AcceleratedDecoder:
        cfg = TransformerConfig.from_namespace(args)
        return AcceleratedDecoder(
            cfg, tgt_dict, embed_tokens, no_encoder_attn=cfg.no_cross_attention
        )
