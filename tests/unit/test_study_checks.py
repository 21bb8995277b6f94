"""Protects the checks before any work: what fairseq, Slurm and COMET would refuse is named."""

from pathlib import Path
from typing import Any, Dict

import pytest
from helpers import studies

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.study import checks, cli
from resdual_fairseq.study.spec.keys import Spec
from resdual_fairseq.study.work import data

TRAINING = str(studies.SPEC["training"])
ARMS = studies.SPEC["arms"]
LANGUAGE_MODEL: Dict[str, Any] = {
    "task": "language_modeling",
    "data": {"data_bin": "data-bin"},
    "arms": {"pre": "--arch resdual_transformer_lm", "resdual": "--arch transformer_lm"},
    "criteria": {**studies.SPEC["criteria"], "metric": "perplexity"},
}
SLURM = {
    "partition": "gpu", "time": 60, "mem": 8, "exclusive": True, "setup": ["module load cuda"],
    "additional_parameters": {"hint": "nomultithread"},
}  # fmt: skip
WITH_SOURCE = {**studies.SPEC["data"], "source": "text"}
FAULTS: Any = [
    (
        {"training": TRAINING + " --learning-rat 3"},
        "training: fairseq has no option --learning-rat",
    ),
    ({"training": TRAINING + " --dropout=x"}, "training: argument --dropout: invalid float value"),
    ({"training": TRAINING + " --dropout 1.5"}, "training: argument --dropout: 1.5 is not from 0"),
    (
        {"training": TRAINING + " --criterion cross_entrop"},
        "training: --criterion has no 'cross_entrop'; did you",
    ),
    (
        {"arms": {**ARMS, "pre": "--arch resdual_transformer --resdual pre"}},
        "arms.pre: fairseq has no option --resdual here; did you mean --residual?",
    ),
    ({"arms": {**ARMS, "pre": "--dropout 0.1"}}, "arms.pre: give its model, such as --arch"),
    ({"arms": {**ARMS, "pre": "--arch resdual_tranformer"}}, "did you mean resdual_transformer?"),
    (
        {"search": {"values": {"lr": [0.1], "drop-out": [0.1, 0.2]}}},
        "search.values.drop-out: fairseq has no option --drop-out here; did you mean --dropout?",
    ),
    ({"search": {"values": {"clip-norm": [1, "x"]}}}, "search.values.clip-norm: argument --clip-"),
    ({"training": TRAINING + " --lr-shrink 0.5"}, "training: fairseq has no option --lr-shrink"),
    ({"decoding": {"options": "--beem 1"}}, "no option --beem here; did you mean --beam?"),
    ({"decoding": {"options": "--beam 0"}}, "decoding.options: --beam 0 finds nothing"),
    ({"decoding": {"options": "--bpe nosuch"}}, "decoding.options: --bpe has no 'nosuch'; known"),
    ({"decoding": {"options": "--bpe fastbpe"}}, "decoding.options: "),
    ({"decoding": {"options": "--post-process x"}}, "decoding.options: Unknown post_process"),
    ({**LANGUAGE_MODEL, "decoding": {"options": "--beam 5"}}, "has no option --beam here"),
    ({"slurm": {"partitoin": "gpu"}}, "slurm.partitoin: submitit has no such key; did you mean"),
    ({"slurm": {"time": "2:00:00"}}, "slurm.time: 2:00:00: give minutes, such as 120"),
    ({"slurm": {"time": 0}}, "slurm.time: 0: give minutes"),
    ({"slurm": {"cpus_per_task": "eight"}}, "slurm.cpus_per_task: eight: give a whole number"),
    ({"slurm": {"setup": "module load cuda"}}, "slurm.setup: module load cuda: give a list of"),
    ({"slurm": {"partition": ["gpu"]}}, "slurm.partition: ['gpu']: give one word"),
    ({"slurm": {"additional_parameters": "x"}}, "additional_parameters: x: give keys with values"),
    (
        {"arms": {**ARMS, "pre": "--arch resdual_transformer --residual-variant full"}},
        "arms.pre: --residual-variant full is no form of --residual resdual; leave it out",
    ),
    ({"decoding": {"options": "--score-reference"}}, "words of the reference; leave --score-ref"),
    ({"decoding": {"options": "--prefix-size 5"}}, "words of the reference; leave --prefix-size"),
    ({"decoding": {"options": "--num-shards 2"}}, "the whole test set is scored; leave --num-sh"),
    ({"decoding": {"options": "--quiet"}}, "have to be printed; leave --quiet out"),
    ({"decoding": {"options": "--beam 5 --nbest 2"}}, "the best translation of a sentence is"),
    ({"data": {**studies.SPEC["data"], "target_lang": "ja"}}, "data.target_lang: sacreBLEU cannot"),
    ({"data": WITH_SOURCE, "comet": {"command": "none"}}, "comet.command: there is no program "),
]


def spec_of(folder: Path, **changes: Any) -> Spec:
    return studies.study_of(studies.write_spec(folder, **changes))[0]


@pytest.mark.parametrize("fault", range(len(FAULTS)))
def test_a_fault_is_named(tmp_path: Path, fault: int, capsys: pytest.CaptureFixture) -> None:
    changes, told = FAULTS[fault]
    with pytest.raises(ResDualError) as error:
        checks.check(spec_of(tmp_path, **changes))
    assert told in str(error.value) and "\n" not in str(error.value)
    assert "usage" not in capsys.readouterr().err


def test_good_specs_pass(tmp_path: Path) -> None:
    checks.check(spec_of(tmp_path, decoding={"options": "--beam 1 --post-process subword_nmt"}))
    checks.check(spec_of(tmp_path, **LANGUAGE_MODEL, slurm=SLURM))


def test_a_share_without_a_sentence_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(tmp_path, data={**studies.SPEC["data"], "fractions": [1, 0.01, 0.00001]})
    monkeypatch.setattr(data, "training_pairs", lambda spec: 700)
    with pytest.raises(ResDualError, match=r"data\.fractions: 1e-05 of 700 training sentences"):
        checks.check(spec)
    monkeypatch.setattr(data, "training_pairs", lambda spec: None)
    checks.check(spec)


def test_a_new_spec_tells_which_package_its_language_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def bleu(trg_lang: str) -> None:
        raise ImportError("pip install sacrebleu[ja]")

    monkeypatch.setattr(checks, "BLEU", bleu)
    for language in ("en", "ja"):
        (tmp_path / f"a.{language}").write_text("a line\n" * 500)
    words = ["new", str(tmp_path / "s.yaml"), "--text"]
    cli.main([*words, str(tmp_path / "a.en"), str(tmp_path / "a.ja")])
    assert "cannot score ja: pip install sacrebleu[ja]" in capsys.readouterr().out


def test_shares_of_a_second_training_set_are_refused(tmp_path: Path) -> None:
    texts = {**studies.SPEC["data"], "fractions": [0.5, 1]}
    spec = spec_of(tmp_path, data=texts)
    studies.write_split(tmp_path / "data-bin" / "train.src-tgt.src", 2)
    checks.check_fractions(spec)
    (tmp_path / "data-bin" / "train1.src-tgt.src.idx").touch()
    with pytest.raises(ResDualError, match=r"has a second training set, train1\.src-tgt\.src, of"):
        checks.check_fractions(spec)


def test_a_text_that_is_not_the_test_set_s_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text"
    text.write_text("one\rtwo\nthree")
    for key in ("reference", "source"):
        spec = spec_of(tmp_path, data={**studies.SPEC["data"], key: "text"})
        for lines in (1, 3):
            monkeypatch.setattr(data, "pairs_of", lambda *_, lines=lines: lines)
            told = rf"data\.{key}: {text} has 2 lines and the test set of .* {lines} sentences"
            with pytest.raises(ResDualError, match=told):
                data.check_test_texts(spec, tmp_path)
        monkeypatch.setattr(data, "pairs_of", lambda *_: 2)
        data.check_test_texts(spec, tmp_path)


def test_a_damaged_file_of_the_data_is_named(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    folder = Path(str(spec.data.data_bin))
    dictionary = folder / "dict.src.txt"
    dictionary.write_text("a 1\n")
    data.check_whole(spec)
    name = data.names_of(spec, "test")[0]
    for path, content in (
        (dictionary, b"\xff\n"),
        (dictionary, b"a 1\na 2\n"),
        (folder / f"{name}.bin", bytes(5)),
        (folder / f"{name}.idx", b""),
        (folder / f"{name}.idx", b"MMIDIDX\x00\x00" + bytes(30)),
    ):
        whole = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(ResDualError, match=f"{path} is damaged or missing; make the data-bin"):
            checks.check(spec)
        path.write_bytes(whole)
