"""Protects the model's options: each one that cannot hold ends in a sentence with the remedy."""

import importlib.util
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from fairseq import options as fairseq_options
from fairseq.models import ARCH_CONFIG_REGISTRY
from helpers.models import KINDS, MODEL, build, task
from omegaconf import OmegaConf

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.options import settle_options
from resdual_fairseq.residual import ResiDual
from resdual_fairseq.transformer import ResDualTransformerModel

PRE = {"encoder_normalize_before": True}
SCALES = (0.0, -0.5, float("nan"), float("inf"), "much", None)
ALPHAS = (-1.0, float("nan"), float("inf"), "much", None)
REFUSED: List[Tuple[Dict[str, Any], List[str]]] = [
    (PRE, ["--encoder-normalize-before", "--residual is resdual", "--residual pre"]),
    (
        {"residual": "post", "decoder_normalize_before": True},
        ["--decoder-normalize-before", "--residual is post", "leave it out"],
    ),
    *(({"residual_scale": s}, [f"--residual-scale {s}", "auto", "above 0"]) for s in SCALES),
    *(({"residual_alpha": a}, [f"--residual-alpha {a}", "0 or more"]) for a in ALPHAS),
    ({"base_layers": 1}, ["--base-layers", "leave it out", "--arch transformer"]),
    (
        {"no_decoder_final_norm": True},
        ["--no-decoder-final-norm", "--residual resdual", "--residual pre"],
    ),
    (
        {"residual": "post", "residual_scale": 0.5},
        ["--residual-scale", "--residual post", "leave it out", "--residual resdual"],
    ),
    (
        {"residual": "pre", "residual_alpha": 0.5},
        ["--residual-alpha", "--residual pre", "leave it out", "--residual resdual"],
    ),
    (
        {"residual": "post", "residual_variant": "bare"},
        ["--residual-variant bare", "--residual post", "leave it out"],
    ),
    (
        {"residual": "siamese", "residual_variant": "naked"},
        ["--residual-variant naked", "choose one of full, bare, paper-scale"],
    ),
    (
        {"residual": "pre", "residual_gain": 0.1},
        ["--residual-gain", "--residual resdual, rezero, layerscale", "--residual pre"],
    ),
    (
        {"residual_gain": 0.1},
        ["--residual-gain", "--residual-alpha is 1.0", "--residual-alpha learned"],
    ),
    ({"residual": "rezero", "residual_gain": float("nan")}, ["--residual-gain nan", "a number"]),
    (
        {"residual": "post", "residual_streams": 2},
        ["--residual-streams", "--residual hyper, mhc", "--residual post"],
    ),
    *(
        ({"residual": "hyper", "residual_streams": n}, [f"--residual-streams {n}", "1 to 64"])
        for n in (0, 2.5, 65, "many")
    ),
    (
        {"residual": "mix", "residual_post_fraction": 1.5},
        ["--residual-post-fraction 1.5", "0 to 1"],
    ),
    *(
        (
            {"residual": kind, "encoder_layerdrop": 0.1},
            ["--encoder-layerdrop", f"--residual {kind}", "leave it out"],
        )
        for kind in ("dlcl", "mix")
    ),
    (
        {"residual": "deepnorm", "decoder_layers_to_keep": "0,2"},
        ["--decoder-layers-to-keep", "--residual deepnorm", "the layers of training"],
    ),
    ({"residual": "triple"}, ["--residual triple", "choose one of", *KINDS]),
    (
        {"residual": "post", "residual_fp32": True},
        ["--residual-fp32", "--residual post has no stream that is such a sum", "leave it out"],
    ),
]


@pytest.mark.parametrize(("wrong", "told"), REFUSED)
def test_options_that_cannot_hold(wrong: Dict[str, Any], told: List[str]) -> None:
    """Where a checkpoint's options are overridden, a model is built and no preset asked."""
    for ask in (ARCH_CONFIG_REGISTRY[MODEL], build_model):
        with pytest.raises(ResDualError) as error:
            ask(Namespace(**wrong))
        sentence = str(error.value)
        for part in told:
            assert part in sentence
        assert "\n" not in sentence


def build_model(args: Namespace) -> None:
    ResDualTransformerModel.build_model(args, task())


@pytest.mark.parametrize("kind", ["post", "pre"])
@pytest.mark.parametrize("scale", ["auto", 1.0])
def test_scale_and_alpha_that_change_nothing_may_stand_beside_baselines(
    kind: str, scale: Any
) -> None:
    args = Namespace(residual=kind, residual_scale=scale, residual_alpha=1.0)
    ARCH_CONFIG_REGISTRY[MODEL](args)
    assert args.residual == kind


@pytest.mark.parametrize("kind", KINDS)
def test_fairseq_is_told_where_the_norms_stand(kind: str) -> None:
    args = Namespace(residual=kind)
    settle_options(args)
    assert args.encoder_normalize_before is args.decoder_normalize_before is (kind == "pre")
    settle_options(args)  # fairseq asks presets and models one after the other
    assert args.residual == kind


def test_pre_ln_options_of_fairseq_may_stand_beside_pre() -> None:
    build(residual="pre", encoder_normalize_before=True, decoder_normalize_before=True)


def test_defaults() -> None:
    args = Namespace()
    ARCH_CONFIG_REGISTRY[MODEL](args)
    assert (args.residual, args.residual_scale, args.residual_alpha) == ("resdual", "auto", 1.0)
    closing = build().encoder.layer_norm
    assert isinstance(closing, ResiDual)
    assert (closing.s, closing.alpha) == (0.125, 1.0)  # 4 blocks and the embeddings


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("residul_scale", "did you mean residual_scale?"),
        ("encoder_layer", "did you mean encoder_layers?"),
        ("quant_noise_pqq", "did you mean quant_noise_pq?"),
        ("encoder.layers", "did you mean encoder_layers?"),
        ("quant_noise.pq", "did you mean quant_noise_pq?"),
        ("zzz", "see the README"),
    ],
)
def test_unknown_keys_of_a_hydra_config(key: str, suggestion: str) -> None:
    config = OmegaConf.from_dotlist([f"_name={MODEL}", "encoder_layers=2", f"{key}=1"])
    with pytest.raises(ResDualError) as error:
        ARCH_CONFIG_REGISTRY[MODEL](config)
    assert f"model.{key} is not an option of {MODEL}" in str(error.value)
    assert suggestion in str(error.value)


def test_a_preset_of_the_users_own_may_have_options_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        ARCH_CONFIG_REGISTRY, "mine", lambda args: ARCH_CONFIG_REGISTRY[MODEL](args)
    )
    config = OmegaConf.create({"_name": "mine", "my_option": 1})
    ARCH_CONFIG_REGISTRY["mine"](config)
    assert (config.my_option, config.residual) == (1, "resdual")


def command_line(*words: str) -> Namespace:
    parser = fairseq_options.get_training_parser()
    return fairseq_options.parse_args_and_arch(parser, input_args=[*words, "--arch", MODEL])


def data_folder(folder: Path, name: str = "dict.en.txt") -> str:
    folder.mkdir()
    for file in (name, "train.de-en.en", "valid.de-en.en"):
        (folder / file).write_text("word 1\n")
    return str(folder)


def test_values_from_a_command_line(tmp_path: Path) -> None:
    folder = data_folder(tmp_path / "data-bin")
    args = command_line(folder, "--residual-scale", "0.05", "--residual-alpha", "0")
    assert (args.residual, args.residual_scale, args.residual_alpha) == ("resdual", 0.05, 0.0)
    args = command_line(folder, "--residual-scale", "auto", "--scale-attn", "--scale-resids")
    assert (args.residual_scale, args.scale_attn, args.scale_resids) == ("auto", True, True)
    assert args.scale_heads is args.scale_fc is False
    args = command_line(folder, "--residual", "pre", "--encoder-layers", "2")
    assert (args.residual, args.encoder_normalize_before, args.encoder_layers) == ("pre", True, 2)


def test_precisions_of_a_command_line(tmp_path: Path) -> None:
    folder = data_folder(tmp_path / "data-bin")
    args = command_line(folder, "--bf16", "--residual-fp32")
    assert (args.bf16, args.tpu, args.residual_fp32) == (True, False, True)
    assert command_line(folder).residual_fp32 is False


def test_bf16_stays_with_a_tpu_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert command_line(data_folder(tmp_path / "data-bin"), "--bf16").tpu is True
