"""Protects the language model's presets (fairseq's) and its options (none that cannot hold)."""

from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, List

import pytest
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_INV_REGISTRY
from fairseq.models.transformer_lm import TransformerLanguageModel
from helpers.language_models import HOST, TINY, build_lm
from helpers.models import task
from omegaconf import OmegaConf

import resdual_fairseq
from resdual_fairseq.compat import with_names
from resdual_fairseq.errors import ResDualError
from resdual_fairseq.language_model import DEFAULTS, LANGUAGE_MODEL, ResDualLanguageModel

CONFIGS = Path(resdual_fairseq.__file__).parent / "config"
PRESETS: List[str] = ARCH_MODEL_INV_REGISTRY[LANGUAGE_MODEL]
NORMS = ("decoder_normalize_before", "no_decoder_final_norm")


def settled(arch: str, **given: Any) -> Namespace:
    args = Namespace(**given)
    ARCH_CONFIG_REGISTRY[arch](args)
    return args


def test_every_preset_of_fairseq_has_a_twin() -> None:
    assert [f"resdual_{name}" for name in ARCH_MODEL_INV_REGISTRY[HOST]] == PRESETS
    assert {f"{LANGUAGE_MODEL}_gpt2_{size}" for size in ("small", "medium", "big")} < set(PRESETS)


@pytest.mark.parametrize("arch", PRESETS)
@pytest.mark.parametrize("kind", ["resdual", "post", "pre"])
def test_presets_are_fairseqs_but_for_the_norms(arch: str, kind: str) -> None:
    host = {**DEFAULTS, **vars(settled(arch[len("resdual_") :]))}
    args = settled(arch, residual=kind)
    for name, value in host.items():
        if name not in NORMS:
            assert getattr(args, name) == value, name
    assert args.decoder_normalize_before is (kind == "pre")
    assert args.no_decoder_final_norm is (kind == "pre" and host["no_decoder_final_norm"])
    ARCH_CONFIG_REGISTRY[arch](args)  # as for a checkpoint, which holds what was filled in
    assert args.decoder_normalize_before is (kind == "pre")


@pytest.mark.parametrize("config", sorted(CONFIGS.glob(f"{LANGUAGE_MODEL}*.yaml")), ids=str)
def test_the_hydra_config_of_the_same_name_says_the_same(config: Path) -> None:
    model = OmegaConf.to_container(OmegaConf.load(config).model)
    assert model["_name"] == config.stem
    args = settled(config.stem)
    for name in ("log_block_gradients", "save_dir", "tensorboard_logdir"):
        del model[name]
    for name, value in model.items():
        if not name.startswith("_"):
            assert getattr(args, name) == value, name


SHARE = {"share_decoder_input_output_embed": True}
ADAPTIVE = {"adaptive_input": True, "adaptive_input_cutoff": "8,16"}
REFUSED: Dict[str, Any] = {
    "pre_ln": ({"decoder_normalize_before": True}, ["--decoder-normalize-before", "leave it out"]),
    "final_norm": ({"no_decoder_final_norm": True}, ["--no-decoder-final-norm", "--residual pre"]),
    "base_layers": ({"base_layers": 1}, ["--base-layers", "leave it out"]),
    "scale_of_post": ({"residual": "post", "residual_scale": 0.5}, ["--residual-scale"]),
    "shared_adaptive": ({**ADAPTIVE, **SHARE}, ["--adaptive-input", "leave one of them out"]),
    "shared_characters": (
        {"character_embeddings": True, **SHARE},
        ["--character-embeddings", "leave one of them out"],
    ),
    "shared_widths": ({"decoder_input_dim": 6, **SHARE}, ["--decoder-input-dim is 6", "equal"]),
    "no_cutoff": ({"adaptive_input": True}, ["--adaptive-input-cutoff", "give it"]),
    "tie_without_input": ({"tie_adaptive_weights": True}, ["--adaptive-input", "give it"]),
    "tie_unlike": (
        {**ADAPTIVE, "tie_adaptive_weights": True, "adaptive_softmax_cutoff": "8"},
        ["--adaptive-input-cutoff and --adaptive-softmax-cutoff", "are 8,16 and 8", "equal"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_cannot_hold(name: str) -> None:
    wrong, told = REFUSED[name]
    with pytest.raises(ResDualError) as error:
        build_lm(**wrong)
    for part in told:
        assert part in str(error.value)


def test_an_option_that_a_config_misspells() -> None:
    with pytest.raises(ResDualError, match="is not an option of resdual_transformer_lm; did you"):
        ARCH_CONFIG_REGISTRY[LANGUAGE_MODEL](OmegaConf.create({"decoder_layer": 3}))
    filled = OmegaConf.create({"decoder_layers": 3})
    ARCH_CONFIG_REGISTRY[LANGUAGE_MODEL](filled)
    ARCH_CONFIG_REGISTRY[LANGUAGE_MODEL](filled)  # as a checkpoint holds them
    with pytest.raises(ResDualError, match=r"model\.encoder_layers is not an option"):
        ARCH_CONFIG_REGISTRY[LANGUAGE_MODEL](OmegaConf.create({"encoder_layers": 3}))


def test_positions_come_from_the_task_where_a_config_does_not_say_them() -> None:
    own = task()
    own.args = Namespace(tokens_per_sample=48, max_target_positions=None)  # type: ignore[attr-defined]
    args = Namespace(**{**TINY, "max_target_positions": None, "decoder_learned_pos": True})
    model = ResDualLanguageModel.build_model(args, own)
    assert model.max_positions() == 48


def test_a_name_that_fairseqs_function_does_not_have() -> None:
    with pytest.raises(ResDualError, match="does not build a Decoder; install"):
        with_names(TransformerLanguageModel.build_model, Decoder=None)
