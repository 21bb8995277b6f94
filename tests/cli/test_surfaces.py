"""Protects the other ways in: hydra, from_pretrained, torch.hub."""

from pathlib import Path

import pytest
import torch
from helpers.commands import PLUGIN, ROOT, run

from resdual_fairseq.checkpoints.loading import load_whole_checkpoint
from resdual_fairseq.transformer import ResDualTransformerModel

pytestmark = pytest.mark.slow
PRESETS = [f"resdual_transformer_{name}" for name in ("tiny", "iwslt_de_en", "opus100")]


def hydra_command(data: Path, preset: str, *overrides: str) -> "list[str]":
    return [
        "fairseq-hydra-train", "--config-dir", str(PLUGIN / "config"), "--config-name", preset,
        f"common.user_dir={PLUGIN}", f"task.data={data}", "++task.source_lang=src",
        "++task.target_lang=tgt", "dataset.num_workers=0", "dataset.data_buffer_size=0",
        "dataset.max_tokens=300",
        "optimization.max_update=2", "hydra.run.dir=.", *overrides,
    ]  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
def test_hydra_trains_presets(preset: str, reversal: Path, tmp_path: Path) -> None:
    narrow = [
        f"model.{side}_{size}={value}"
        for side in ("encoder", "decoder")
        for size, value in (("embed_dim", 16), ("ffn_embed_dim", 16), ("attention_heads", 2))
    ]
    published = [] if "iwslt" not in preset else ["task.eval_bleu_args='{\"max_len_b\":5}'"]
    output = run(
        *hydra_command(reversal, preset, *narrow, *published), "optimization.update_freq=[1]",
        cwd=tmp_path, HYDRA_FULL_ERROR="1",
    )  # fmt: skip
    assert "done training" in output
    state = load_whole_checkpoint(tmp_path / "checkpoints" / "checkpoint_last.pt")
    assert "encoder.layer_norm.weight" in state["model"]
    assert state["cfg"]["model"]["_name"] == preset


def test_hydra_refuses_an_unknown_option(reversal: Path, tmp_path: Path) -> None:
    output = run(
        *hydra_command(reversal, "resdual_transformer_tiny", "+model.residul=pre"),
        cwd=tmp_path, fails=True,
    )  # fmt: skip
    assert "model.residul is not an option of resdual_transformer; did you mean residual?" in output


@pytest.mark.parametrize(
    "override,sentence",
    [
        ("task.data=/nowhere", "error: /nowhere does not exist"),
        ("task.target_lang=xx", "error: {data}/dict.xx.txt does not exist"),
        ("dataset.train_subset=nope", "error: Dataset not found: nope ({data})"),
        ("common.fp16=true", "error: an option of this command needs a GPU"),
    ],
)
def test_hydra_tells_errors_as_sentences(
    override: str, sentence: str, reversal: Path, tmp_path: Path
) -> None:
    if override == "common.fp16=true" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    output = run(
        *hydra_command(reversal, "resdual_transformer_tiny", override), cwd=tmp_path, fails=True
    )
    last = output.strip().splitlines()[-1]
    assert last.startswith("resdual_fairseq: " + sentence.format(data=reversal))
    assert "Traceback" not in output


def translator(learned: Path, reversal: Path) -> torch.nn.Module:
    return ResDualTransformerModel.from_pretrained(
        str(learned), checkpoint_file="checkpoint_last.pt", data_name_or_path=str(reversal)
    )


def test_from_pretrained_translates(learned: Path, reversal: Path) -> None:
    assert translator(learned, reversal).translate("a b c") == "c b a"


def test_from_pretrained_aligns(learned: Path, reversal: Path) -> None:
    hub = translator(learned, reversal)
    beams = hub.generate([hub.encode("a b c")], beam=2, print_alignment="hard")[0]
    assert [source for source, _ in beams[0]["alignment"]][:3] == [2, 1, 0]


def test_torch_hub_loads_the_same_model(learned: Path, reversal: Path) -> None:
    model = torch.hub.load(
        str(ROOT), "resdual_transformer", str(learned), source="local",
        checkpoint_file="checkpoint_last.pt", data_name_or_path=str(reversal),
    )  # fmt: skip
    weights = translator(learned, reversal).state_dict()
    assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())
    assert model.translate("a b c") == "c b a"
