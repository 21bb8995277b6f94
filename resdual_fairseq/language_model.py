"""The decoder-only model `resdual_transformer_lm`, for fairseq's ``language_modeling`` task.

Embeddings, adaptive input and softmax, options, presets and state-dict names are those of fairseq's
``transformer_lm``; the stack is the decoder of transformer.py without cross-attention.
"""

from argparse import ArgumentParser, Namespace
from dataclasses import fields
from typing import Any, Callable, Dict

from fairseq.data import Dictionary
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import (
    ARCH_CONFIG_REGISTRY,
    ARCH_MODEL_INV_REGISTRY,
    register_model,
    register_model_architecture,
)
from fairseq.models.transformer import TransformerConfig
from fairseq.models.transformer_lm import TransformerLanguageModel, TransformerLanguageModelConfig
from fairseq.tasks import FairseqTask
from torch import nn

from .base import ResDualModel, initialize_embeddings, namespace
from .compat import with_names
from .errors import ResDualError
from .generation.decoder import AcceleratedDecoder
from .options import (
    OWN_KEYS,
    Options,
    add_residual_options,
    check_command_line,
    set_defaults,
    settle_options,
)

HOST = "transformer_lm"
LANGUAGE_MODEL = f"resdual_{HOST}"
SIDES = ("decoder",)

DEFAULTS: Dict[str, Any] = {
    field.name: field.default
    for field in fields(TransformerLanguageModelConfig)
    if not field.name.startswith("_") and not str(field.default).startswith("${")
}
FROM_TASK = ("add_bos_token", "tokens_per_sample", "max_target_positions")
"""Options of the task that fairseq's config of the model refers to."""


def build_decoder(
    args: Namespace, dictionary: Dictionary, embed_tokens: nn.Module, no_encoder_attn: bool
) -> AcceleratedDecoder:
    """What fairseq's ``build_model`` calls where it names its own decoder."""
    cfg = TransformerConfig.from_namespace(args)
    return AcceleratedDecoder(cfg, dictionary, embed_tokens, no_encoder_attn=no_encoder_attn)


@register_model(LANGUAGE_MODEL)
class ResDualLanguageModel(ResDualModel, TransformerLanguageModel):
    """Decoder-only Transformer with dual residual connections (Xie et al. 2023).

    Takes every option of fairseq's ``transformer_lm`` and those of ``--residual``. With
    ``--residual post`` or ``pre`` it computes what fairseq's ``transformer_lm`` computes on the
    same weights.
    """

    build_host = classmethod(
        with_names(TransformerLanguageModel.build_model, TransformerDecoder=build_decoder)
    )

    @classmethod
    def add_args(cls, parser: ArgumentParser) -> None:
        """Add the model's options to fairseq's command line."""
        gen_parser_from_dataclass(parser, TransformerLanguageModelConfig(), delete_default=True)
        add_residual_options(parser)

    @classmethod
    def build_model(cls, args: Options, task: FairseqTask) -> "ResDualLanguageModel":
        """Build the model from a command line's namespace or a hydra config.

        Raises:
            ResDualError: an option that cannot hold.
        """
        args = namespace(args)
        task_options = getattr(task, "args", None)
        for name in FROM_TASK:
            if getattr(args, name, None) is None:
                setattr(args, name, getattr(task_options, name, None))
        settle_options(args, sides=SIDES)
        set_defaults(args, **DEFAULTS)
        check_embeddings(args)
        model = cls.build_host(args, task)
        initialize_embeddings(model, args)
        model.cfg = args
        return model


def check_embeddings(args: Namespace) -> None:
    """Raise on ways to embed and to predict tokens that cannot hold together."""
    own_table = not (args.character_embeddings or args.adaptive_input)
    shares = args.share_decoder_input_output_embed and args.adaptive_softmax_cutoff is None
    if shares and not own_table:
        name = "character-embeddings" if args.character_embeddings else "adaptive-input"
        raise ResDualError(
            f"--share-decoder-input-output-embed wants one table of embeddings, which --{name} "
            "does not have; leave one of them out"
        )
    if shares and args.decoder_input_dim != args.decoder_output_dim:
        raise ResDualError(
            "--share-decoder-input-output-embed wants one width, but --decoder-input-dim is "
            f"{args.decoder_input_dim} and --decoder-output-dim {args.decoder_output_dim}; make "
            "them equal"
        )
    if args.adaptive_input and not (args.character_embeddings or args.adaptive_input_cutoff):
        raise ResDualError(
            "--adaptive-input needs --adaptive-input-cutoff, such as 20000,60000; give it"
        )
    if args.tie_adaptive_weights:
        check_ties(args)


def check_ties(args: Namespace) -> None:
    """Raise where adaptive input and adaptive softmax are too unlike to share weights."""
    if not args.adaptive_input:
        raise ResDualError(
            "--tie-adaptive-weights ties the softmax to --adaptive-input, which is not given; give "
            "it, or leave the first out"
        )
    for one, other in (
        ("adaptive_input_cutoff", "adaptive_softmax_cutoff"),
        ("adaptive_input_factor", "adaptive_softmax_factor"),
        ("decoder_input_dim", "decoder_output_dim"),
    ):
        if getattr(args, one) != getattr(args, other):
            options = [f"--{name.replace('_', '-')}" for name in (one, other)]
            raise ResDualError(
                f"--tie-adaptive-weights wants {options[0]} and {options[1]} to be equal, but they "
                f"are {getattr(args, one)} and {getattr(args, other)}; make them equal"
            )


KNOWN_OPTIONS = OWN_KEYS | {field.name for field in fields(TransformerLanguageModelConfig)}
"""Names of all options, as a hydra config spells them."""


def like_host(preset: Callable[[Options], None]) -> Callable[[Options], None]:
    """A preset of fairseq's ``transformer_lm``, for any ``--residual``.

    fairseq's presets ask for Pre-LN, some without its closing norm; here ``--residual`` decides.
    """

    def fill(args: Options) -> None:
        check_command_line(args, LANGUAGE_MODEL, KNOWN_OPTIONS)
        settle_options(args, sides=SIDES)
        if args.residual != "pre":
            set_defaults(args, no_decoder_final_norm=False)
        norms_before = args.decoder_normalize_before
        preset(args)
        args.decoder_normalize_before = norms_before
        set_defaults(args, **DEFAULTS)

    return fill


def register_presets() -> None:
    """Register ``resdual_NAME`` for every preset NAME of fairseq's ``transformer_lm``."""
    for name in (HOST, *ARCH_MODEL_INV_REGISTRY[HOST]):
        if f"resdual_{name}" not in ARCH_CONFIG_REGISTRY:
            preset = ARCH_CONFIG_REGISTRY[name]
            register_model_architecture(LANGUAGE_MODEL, f"resdual_{name}")(like_host(preset))


register_presets()
