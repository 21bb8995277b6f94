"""Protects the presets: they are the paper's published training settings."""

from argparse import Namespace
from pathlib import Path
from typing import Any, Dict

import pytest
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from helpers.models import MODEL, build
from omegaconf import OmegaConf

import resdual_fairseq
from resdual_fairseq.schemes import RESIDUALS
from resdual_fairseq.transformer import ResDualTransformerModel

CONFIGS = Path(resdual_fairseq.__file__).parent / "config"


def sizes(embed: int, ffn: int, heads: int, layers: int) -> Dict[str, int]:
    return {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (
            ("embed_dim", embed),
            ("ffn_embed_dim", ffn),
            ("attention_heads", heads),
            ("layers", layers),
        )
    }


def dropouts(dropout: float, attention: float, activation: float) -> Dict[str, float]:
    return {
        "dropout": dropout,
        "attention_dropout": attention,
        "activation_dropout": activation,
    }


ALL_SHARED = {"share_all_embeddings": True}
DECODER_SHARED = {"share_all_embeddings": False, "share_decoder_input_output_embed": True}
NOT_SHARED = {"share_all_embeddings": False, "share_decoder_input_output_embed": False}

SETTINGS: Dict[str, Dict[str, Any]] = {
    MODEL: {**sizes(512, 2048, 8, 6), **dropouts(0.1, 0.0, 0.0), **NOT_SHARED},
    f"{MODEL}_tiny": {**sizes(64, 64, 2, 2), **dropouts(0.1, 0.0, 0.0), **NOT_SHARED},
    f"{MODEL}_iwslt_de_en": {
        **sizes(256, 1024, 4, 6),
        **dropouts(0.3, 0.1, 0.1),
        **ALL_SHARED,
    },
    f"{MODEL}_wmt_en_de": {
        **sizes(512, 2048, 8, 6),
        **dropouts(0.3, 0.1, 0.1),
        **ALL_SHARED,
    },
    f"{MODEL}_wmt_en_de_big": {
        **sizes(1024, 4096, 16, 6),
        **dropouts(0.3, 0.1, 0.1),
        **ALL_SHARED,
    },
    f"{MODEL}_opus100": {
        **sizes(512, 2048, 8, 18),
        **dropouts(0.1, 0.1, 0.1),
        **DECODER_SHARED,
        "residual_scale": 0.05,
    },
}


def settled(arch: str, **given: Any) -> Namespace:
    """All options of a preset, those that fairseq fills in when it builds a model too."""
    args = Namespace(**given)
    ARCH_CONFIG_REGISTRY[arch](args)
    ARCH_CONFIG_REGISTRY["transformer"](args)
    if args.share_all_embeddings:
        args.share_decoder_input_output_embed = True
    return args


def test_every_preset_is_in_the_table() -> None:
    assert set(SETTINGS) == {
        arch for arch, model in ARCH_MODEL_REGISTRY.items() if model is ResDualTransformerModel
    }


@pytest.mark.parametrize("arch", SETTINGS)
def test_settings(arch: str) -> None:
    args = settled(arch)
    for name, value in SETTINGS[arch].items():
        assert getattr(args, name) == value, name
    assert args.residual == "resdual"
    assert args.residual_alpha == 1.0


@pytest.mark.parametrize("arch", SETTINGS)
@pytest.mark.parametrize(
    "given",
    [
        {**sizes(48, 96, 3, 12), **dropouts(0.5, 0.4, 0.2), **NOT_SHARED, "residual_alpha": 0.5},
        {"residual": "post", "residual_scale": "auto"},
        {"residual": "pre", "residual_scale": 1.0},
    ],
)
def test_what_the_user_gives_wins(arch: str, given: Dict[str, Any]) -> None:
    args = settled(arch, **given)
    for name, value in {**SETTINGS[arch], **given}.items():
        assert getattr(args, name) == value, name


@pytest.mark.parametrize("arch", SETTINGS)
def test_the_hydra_config_of_the_same_name_says_the_same(arch: str) -> None:
    model = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{arch}.yaml").model)
    assert model.pop("_name") == arch
    args = settled(arch)
    for name in ("log_block_gradients", "save_dir", "tensorboard_logdir"):
        del model[name]
    for name, value in model.items():
        if not name.startswith("_"):
            assert getattr(args, name) == value, name


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_hydra_config_says_where_gradients_are_logged(path: Path) -> None:
    model = OmegaConf.to_container(OmegaConf.load(path).model)
    assert model["log_block_gradients"] == 0
    assert model["save_dir"] == "${checkpoint.save_dir}"
    assert model["tensorboard_logdir"] == "${common.tensorboard_logdir}"


RIVALS = [path for path in sorted(CONFIGS.glob("*.yaml")) if not path.stem.startswith(MODEL)]


@pytest.mark.parametrize("path", RIVALS, ids=lambda path: path.stem)
def test_a_rivals_hydra_config_builds_its_scheme(path: Path) -> None:
    config = OmegaConf.load(path)
    kind = path.stem.split("_")[0]
    assert f"--config-name {path.stem} " in path.read_text()
    small = {**sizes(8, 16, 2, 1), "encoder_layers": 2, "dropout": config.model.dropout}
    model = build(**{**OmegaConf.to_container(config.model), **small, "arch": MODEL})
    assert type(model.encoder.layer_norm) is RESIDUALS[kind]
