"""Presets: the paper's published settings (table "training settings" of arXiv 2304.14802)."""

from argparse import Namespace

from fairseq.models import register_model_architecture

from .options import check_command_line, known_config_keys, set_defaults, settle_options
from .transformer import MODEL


def set_sizes(args: Namespace, embed: int, ffn: int, heads: int, layers: int) -> None:
    """Equal encoder and decoder; a width given for the encoder alone holds for both."""
    set_defaults(
        args,
        encoder_embed_dim=embed,
        encoder_ffn_embed_dim=ffn,
        encoder_attention_heads=heads,
        encoder_layers=layers,
        decoder_attention_heads=heads,
        decoder_layers=layers,
    )
    set_defaults(
        args,
        decoder_embed_dim=args.encoder_embed_dim,
        decoder_ffn_embed_dim=args.encoder_ffn_embed_dim,
    )


def set_dropouts(args: Namespace, dropout: float, attention: float, activation: float) -> None:
    set_defaults(args, dropout=dropout, attention_dropout=attention, activation_dropout=activation)


@register_model_architecture(MODEL, MODEL)
def base(args: Namespace) -> None:
    """Transformer base (fairseq's ``transformer``): 6 + 6 layers of 512 / 2048 / 8."""
    check_command_line(args, MODEL, known_config_keys())
    set_sizes(args, embed=512, ffn=2048, heads=8, layers=6)
    settle_options(args)


@register_model_architecture(MODEL, f"{MODEL}_tiny")
def tiny(args: Namespace) -> None:
    """For trials: 2 + 2 layers of 64 / 64 / 2 (fairseq's ``transformer_tiny``)."""
    set_sizes(args, embed=64, ffn=64, heads=2, layers=2)
    base(args)


@register_model_architecture(MODEL, f"{MODEL}_iwslt_de_en")
def iwslt_de_en(args: Namespace) -> None:
    """IWSLT-14 De-En: 6 + 6 (or 12 + 12) layers of 256 / 1024 / 4, all embeddings shared."""
    set_sizes(args, embed=256, ffn=1024, heads=4, layers=6)
    set_dropouts(args, dropout=0.3, attention=0.1, activation=0.1)
    set_defaults(args, share_all_embeddings=True)
    base(args)


@register_model_architecture(MODEL, f"{MODEL}_wmt_en_de")
def wmt_en_de(args: Namespace) -> None:
    """WMT En-De: 6 + 6 (or 18 + 18) layers of 512 / 2048 / 8, all embeddings shared."""
    set_dropouts(args, dropout=0.3, attention=0.1, activation=0.1)
    set_defaults(args, share_all_embeddings=True)
    base(args)


@register_model_architecture(MODEL, f"{MODEL}_wmt_en_de_big")
def wmt_en_de_big(args: Namespace) -> None:
    """The WMT settings at Transformer big's sizes, 1024 / 4096 / 16; not in the paper."""
    set_sizes(args, embed=1024, ffn=4096, heads=16, layers=6)
    wmt_en_de(args)


@register_model_architecture(MODEL, f"{MODEL}_opus100")
def opus100(args: Namespace) -> None:
    """OPUS-100: 18 + 18 layers of 512 / 2048 / 8, decoder embeddings shared, s = 0.05."""
    set_sizes(args, embed=512, ffn=2048, heads=8, layers=18)
    set_dropouts(args, dropout=0.1, attention=0.1, activation=0.1)
    set_defaults(args, share_decoder_input_output_embed=True)
    if getattr(args, "residual", "resdual") == "resdual":
        set_defaults(args, residual_scale=0.05)
    base(args)
