"""The options that the models add to fairseq's, and which of them cannot hold."""

import difflib
from argparse import ArgumentParser, Namespace
from dataclasses import fields
from typing import Any, Dict, Mapping, Optional, Sequence, Set, Union

from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.models.transformer import TransformerConfig
from fairseq.models.transformer.transformer_config import (
    DecoderConfig,
    EncDecBaseConfig,
    QuantNoiseConfig,
)
from omegaconf import DictConfig

from .compat import help_group, let_bf16_run_anywhere
from .errors import ResDualError
from .residual import ResidualOptions
from .schemes import RESIDUALS
from .training.gradient_log import check_gradient_log

SCALES = (1e-4, 1e3)
"""Beyond these, half precision loses the stream's digits or its range."""
MAX_ALPHA = 1e3
LEARNED_ALPHAS = ("learned", "learned-scalar")
MAX_STREAMS = 64
Options = Union[Namespace, DictConfig]
"""A model's options: of a command line, or the ``model`` part of a hydra config."""

NORMFORMER_OPTIONS = {
    "scale_attn": "layer norm on the output of the decoder's self-attention (NormFormer)",
    "scale_heads": "a learned weight for each head of the decoder's self-attention (NormFormer)",
    "scale_fc": "layer norm between the two matrices of the decoder's feed-forward (NormFormer)",
    "scale_resids": "a learned weight for each channel of the decoder's feed-forward residual "
    "(NormFormer)",
}

SCHEME_DEFAULTS: Dict[str, Any] = {
    name: getattr(ResidualOptions(), name)
    for name in ("scale", "alpha", "gain", "streams", "post_fraction")
}
"""What a scheme may read (:attr:`Residual.reads`) of the options ``--residual-...``."""

OWN_KEYS = {
    *("residual", "residual_variant", "residual_fp32", *NORMFORMER_OPTIONS, "arch"),
    *(f"residual_{name}" for name in SCHEME_DEFAULTS),
    *("log_block_gradients", "save_dir", "tensorboard_logdir"),
}
"""What a hydra config may say beyond the options of fairseq's model."""


def scale_value(text: str) -> Union[float, str]:
    """Parse ``--residual-scale``: a float, or ``auto``."""
    return text if text == "auto" else float(text)


def alpha_value(text: str) -> Union[float, str]:
    """Parse ``--residual-alpha``: a float, or one of :data:`LEARNED_ALPHAS`."""
    return text if text in LEARNED_ALPHAS else float(text)


scale_value.__name__ = "float or 'auto'"
alpha_value.__name__ = "float, 'learned' or 'learned-scalar'"


def add_model_options(parser: ArgumentParser) -> None:
    """Add the options that fairseq's ``transformer`` does not have."""
    for name, text in NORMFORMER_OPTIONS.items():
        parser.add_argument("--" + name.replace("_", "-"), action="store_true", help=text)
    add_residual_options(parser)


def add_residual_options(parser: ArgumentParser) -> None:
    """Add what says how blocks are joined."""
    group = help_group(
        parser, "ResiDual", "How blocks are joined (Xie et al. 2023, arXiv 2304.14802)."
    )
    group.add_argument(
        "--residual",
        choices=list(RESIDUALS),
        help="residual connections: resdual (dual stream, the paper's model; default), its "
        "baselines post (Post-LN, the original Transformer) and pre (Pre-LN), or one of their "
        "rivals through the same code (docs/schemes.md). Change it to compare; the learning rate "
        "that suits best differs",
    )
    group.add_argument(
        "--residual-variant",
        metavar="V",
        help="form of a scheme that has several (default: the first): "
        + "; ".join(
            f"{', '.join(scheme.variants)} of {name}"
            for name, scheme in RESIDUALS.items()
            if scheme.variants
        ),
    )
    group.add_argument(
        "--residual-scale",
        type=scale_value,
        metavar="S",
        help="factor s of the dual stream, 1e-4 to 1000, or auto (default): the largest power of "
        "two with which the stream stays within the largest block output, so that fp16 does not "
        "overflow at any depth. The result does not depend on it beyond rounding. The paper used "
        "0.05 for 18 layers in fp16 and 1.0 elsewhere",
    )
    group.add_argument(
        "--residual-alpha",
        type=alpha_value,
        metavar="A",
        help="weight of the Post-LN stream in resdual's output, 0 to 1000: y = A x + LN(d) "
        "(default and paper: 1.0). Less trusts the dual stream more, which can start faster in "
        "short trainings. learned: a weight for each channel, trained from 0 (or --residual-gain); "
        "learned-scalar: one for all",
    )
    group.add_argument(
        "--residual-gain",
        type=float,
        metavar="G",
        help="what a learned weight starts from: of layerscale (default: 0.1 to 18 layers, 1e-5 to "
        "24, 1e-6 above, as published), of rezero and of a learned --residual-alpha (default: 0), "
        "a of mhc (0.01, as published); of hyper: factor of the outputs' initial weights (1; the "
        "paper scales by the root of the streams and does not say in which direction)",
    )
    group.add_argument(
        "--residual-streams",
        type=int,
        metavar="N",
        help="streams of hyper and mhc (default and published: 4). Memory grows with it; fewer "
        "are faster, 1 was reported to be worse than Pre-LN",
    )
    group.add_argument(
        "--residual-post-fraction",
        type=float,
        metavar="A",
        help="share of a stack's layers, the first ones, that are Post-LN in mix, 0 to 1 (default "
        "and published: 0.25)",
    )
    group.add_argument(
        "--residual-fp32",
        action="store_true",
        help="keep the residual stream that is a sum (the dual stream of resdual, the only one of "
        "pre) in float32 while blocks compute in 16 bits: for deep stacks with --bf16 or --fp16, "
        "whose sums lose digits. Takes some time, and for that stream twice the memory; without 16 "
        "bits, and with --amp, it changes nothing (there hyper and mhc mix streams in 16 bits all "
        "the same). Not in the paper",
    )
    group.add_argument(
        "--log-block-gradients",
        type=int,
        metavar="N",
        help="write the gradient norm of every block to block_gradients.csv in the --save-dir, at "
        "update 1 and every N updates, and to TensorBoard with --tensorboard-logdir (default: 0, "
        "off). The norms are of the gradients that the optimizer receives, after clipping",
    )


def settle_options(args: Options, sides: Sequence[str] = ("encoder", "decoder")) -> None:
    """Fill in the residual options' defaults, check them, and tell fairseq where the norms stand.

    Args:
        args: a namespace or hydra config, changed in place.
        sides: the stacks that the model has.

    Raises:
        ResDualError: an option that cannot hold.
    """
    set_defaults(
        args,
        residual="resdual",
        residual_variant=None,
        residual_fp32=False,
        log_block_gradients=0,
        **{f"residual_{name}": value for name, value in SCHEME_DEFAULTS.items()},
        **dict.fromkeys(NORMFORMER_OPTIONS, False),
    )
    check_values(args)
    check_gradient_log(args)
    check_combinations(args)
    for name in ("encoder_layers_to_keep", "decoder_layers_to_keep"):
        keep = getattr(args, name, None)
        if keep and not isinstance(keep, str):  # fairseq parses a list, then expects "0,2"
            setattr(args, name, ",".join(str(layer) for layer in keep))
    for side in sides:
        setattr(args, f"{side}_normalize_before", RESIDUALS[args.residual].norms_blocks_input)


def set_defaults(args: Options, **defaults: object) -> None:
    """Set each default that a namespace or hydra config does not carry yet."""
    for name, value in defaults.items():
        if name not in args:
            setattr(args, name, value)


def check_values(args: Options) -> None:
    """Raise on a residual option whose value is out of range."""
    if args.residual not in RESIDUALS:
        raise ResDualError(
            f"--residual {args.residual} is not known; choose one of {', '.join(RESIDUALS)}, or "
            "give the --user-dir that has it"
        )
    scale = args.residual_scale
    if scale != "auto" and not lies_within(scale, *SCALES):
        raise ResDualError(
            f"--residual-scale {scale} cannot scale the dual stream without loss of digits; "
            f"give auto or a number above 0, such as 0.05 ({SCALES[0]:g} to {SCALES[1]:g})"
        )
    alpha = args.residual_alpha
    if alpha not in LEARNED_ALPHAS and not lies_within(alpha, 0, MAX_ALPHA):
        raise ResDualError(
            f"--residual-alpha {alpha} cannot weight the Post-LN stream; "
            f"give a number of 0 or more, such as 1.0 (up to {MAX_ALPHA:g}), or learned"
        )
    gain = args.residual_gain
    if gain is not None and not lies_within(gain, -MAX_ALPHA, MAX_ALPHA):
        raise ResDualError(f"--residual-gain {gain} is no weight to start from; give a number")
    streams = args.residual_streams
    if type(streams) is not int or not lies_within(streams, 1, MAX_STREAMS):
        raise ResDualError(
            f"--residual-streams {streams} is no number of streams; give 1 to {MAX_STREAMS}"
        )
    if not lies_within(args.residual_post_fraction, 0, 1):
        raise ResDualError(
            f"--residual-post-fraction {args.residual_post_fraction} is no share of the layers; "
            "give 0 to 1"
        )


def check_combinations(args: Options) -> None:
    """Raise on options that cannot hold together."""
    kind = RESIDUALS[args.residual]
    check_scheme_options(args)
    for side in ("encoder", "decoder"):
        if getattr(args, f"{side}_normalize_before", False) and not kind.norms_blocks_input:
            raise ResDualError(
                f"--{side}-normalize-before asks for Pre-LN, but --residual is {args.residual}; "
                "leave it out, or give --residual pre"
            )
        if (getattr(args, f"{side}_layerdrop", 0) or 0) > 0 and not kind.can_drop_layers:
            raise ResDualError(
                f"--{side}-layerdrop leaves layers out, which --residual {args.residual} cannot: "
                "what a layer reads depends on which came before; leave it out"
            )
        if getattr(args, f"{side}_layers_to_keep", None) and not kind.can_be_pruned:
            raise ResDualError(
                f"--{side}-layers-to-keep cannot hold with --residual {args.residual}, which "
                "counts the layers of training; leave it out"
            )
    if getattr(args, "no_decoder_final_norm", False) and args.residual != "pre":
        raise ResDualError(
            f"--no-decoder-final-norm cannot hold with --residual {args.residual}, "
            "only with --residual pre; leave it out"
        )
    if getattr(args, "base_layers", 0):
        raise ResDualError(
            "--base-layers puts layers with a residual connection of their own into the decoder, "
            "which carry one stream only; leave it out, or use --arch transformer"
        )
    if args.residual_fp32 and not kind.has_sum:
        raise ResDualError(
            "--residual-fp32 keeps the sum of the blocks' outputs in float32, but --residual "
            f"{args.residual} has no stream that is such a sum; leave it out"
        )


def check_scheme_options(args: Options) -> None:
    """Raise on what another scheme reads."""
    kind = RESIDUALS[args.residual]
    variant = args.residual_variant
    if variant is not None and variant not in kind.variants:
        raise ResDualError(
            f"--residual-variant {variant} is no form of --residual {args.residual}; "
            + (f"choose one of {', '.join(kind.variants)}" if kind.variants else "leave it out")
        )
    for name, default in SCHEME_DEFAULTS.items():
        value = getattr(args, f"residual_{name}")
        without_effect = (default, 1.0) if name == "scale" else (default,)
        if name not in kind.reads and value not in without_effect:
            readers = [other for other, scheme in RESIDUALS.items() if name in scheme.reads]
            raise ResDualError(
                f"--residual-{name.replace('_', '-')} is for --residual {', '.join(readers)} and "
                f"means nothing to --residual {args.residual}; leave it out"
                + (f", or give {default}" if default is not None else "")
            )
    if getattr(args, "scale_resids", False) and not kind.can_scale_stream:
        raise ResDualError(
            "--scale-resids weights the stream that a block's output is added to, and --residual "
            f"{args.residual} has several, with weights of their own; leave it out"
        )
    learns_nothing = args.residual == "resdual" and args.residual_alpha not in LEARNED_ALPHAS
    if learns_nothing and args.residual_gain is not None:
        raise ResDualError(
            "--residual-gain starts a learned weight, but --residual-alpha is "
            f"{args.residual_alpha}; give --residual-alpha learned, or leave it out"
        )


def check_command_line(args: Options, model: str, known: Set[str]) -> None:
    """Raise on what is wrong before anything is loaded; let ``--bf16`` mean no TPU.

    Args:
        args: fairseq's namespace of a whole command line, or the ``model`` part of a hydra config.
        model: whose options they are, as the user calls it.
        known: names of all options that it has.
    """
    if isinstance(args, Namespace):
        let_bf16_run_anywhere(args)
    elif is_own_preset(getattr(args, "_name", None)):
        check_config_keys(args, model, known)


def is_own_preset(name: Optional[str]) -> bool:
    """Whether a preset is of this package; one of a user's own may have options of its own."""
    preset = ARCH_CONFIG_REGISTRY.get(name)
    return preset is None or preset.__module__.split(".")[0] == __package__


def check_config_keys(config: Mapping[str, Any], model: str, known: Set[str]) -> None:
    """Raise on a key of a hydra config's ``model`` part that is no option of the model."""
    for key in config:
        if not key.startswith("_") and key not in known:
            part = list(config[key])[:1] if isinstance(config[key], Mapping) else []
            near = difflib.get_close_matches("_".join([key, *part]), known, n=1)
            hint = f"did you mean {near[0]}?" if near else "see the README's options table"
            name = ".".join(["model", key, *part])
            raise ResDualError(f"{name} is not an option of {model}; {hint}")


def known_config_keys() -> Set[str]:
    """Names of all options, as a flat hydra config spells them."""
    nested = {
        "encoder": EncDecBaseConfig,
        "decoder": DecoderConfig,
        "quant_noise": QuantNoiseConfig,
    }
    flat = {field.name for field in fields(TransformerConfig)} - set(nested)
    parts = {f"{part}_{field.name}" for part, cls in nested.items() for field in fields(cls)}
    return OWN_KEYS | {name for name in flat | parts if "__" not in name}


def lies_within(value: Any, low: float, high: float) -> bool:
    try:
        return low <= float(value) <= high
    except (TypeError, ValueError):
        return False
