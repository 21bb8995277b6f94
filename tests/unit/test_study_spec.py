"""Protects the spec: every fault is named with its line, its key and the nearest valid one."""

import re
from pathlib import Path
from typing import Any, Dict

import pytest
import yaml
from helpers import studies

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.study import lock
from resdual_fairseq.study.new import batches_for, write_spec
from resdual_fairseq.study.planning.findings import collect
from resdual_fairseq.study.spec.option_lines import SET_BY_THE_STUDY
from resdual_fairseq.study.spec.reading import located, read_spec

GOOD = """\
name: good
data:
  data_bin: data-bin
  source_lang: src
  target_lang: tgt
arms:
  pre: --arch resdual_transformer --residual pre
  resdual: {options: "--arch resdual_transformer"}
depths: [6, 12+3]
widths:
  - {width: 32, ffn: 64, heads: 2}
training: --optimizer adam --max-tokens 1000
budgets: {unit: updates, values: [20, 40]}
search:
  values: {lr: [1e-3, 2e-3, 4e-3]}
seeds: [101, 102]
criteria:
  candidate: resdual
  baseline: pre
  depth: 6
"""
FAULTS = [
    ("--optimizer adam --max-tokens 1000", "[--seed, 3]", "--seed is set by the study itself"),
    ("--residual pre", "--residual pre --max-tokens 9", "--max-tokens has to be alike for all"),
    ("--residual pre", "--residual pre --upsample-primary 2", "--upsample-primary has to be alike"),
    ("--residual pre", "--residual pre --lr 1", "arms.pre: --lr is searched; leave it out"),
    ("--max-tokens 1000", "--valid-subset test", "--valid-subset is set by the study itself"),
    ("--optimizer adam", "--stop-min-lr 0.01", "--stop-min-lr is set by the study itself"),
    ("  depth: 6", "  depth: 6\n  margin: yes", "line 21: criteria.margin: 'yes' is no finite"),
    ("  depth: 6", "  depth: 6\n  margin: true", "criteria.margin: 'True' is no finite number"),
    ("name: good", "name: good\nlimits: {hours: 1:30}", "limits.hours: '1:30' is no finite"),
    ("seeds: [101, 102]", "seeds: [true, 102]", "seeds.0: input should be a valid integer"),
    ("--optimizer adam", "--optimizer adam --lr 1", "training: --lr is searched; leave it out"),
    (
        "\n  values: {",
        "\n  values: {update-freq: [1, 2], ",
        "--update-freq changes what an update learns from and costs",
    ),
    ("lr: [1e-3, 2e-3", "lr: [0.001, 1e-3", "values of lr: give one or more, each once"),
    ("lr: [1e-3, 2e-3", "lr: [.inf, 2e-3", "are not all learning rates above 0"),
    ("lr: [1e-3", "dropout: [0.1, 1.5], lr: [1e-3", "are not all from 0 to below 1"),
    (
        "values: {lr: [1e-3, 2e-3, 4e-3]}",
        "method: tpe\n  ranges: {lr: {low: a, high: 1}}",
        "search.ranges.lr.low: 'a' is no finite number",
    ),
    (
        "values: {lr: [1e-3, 2e-3, 4e-3]}",
        "method: tpe\n  ranges: {lr: {low: 0, high: 1}}",
        "low 0 is not above 0 (0 itself goes with log: false)",
    ),
    (
        "values: {lr: [1e-3, 2e-3, 4e-3]}",
        "method: tpe\n  ranges: {dropout: {low: 0.1, high: 1.5}}",
        "ranges of dropout: 1.5 is not below 1",
    ),
    (
        "values: {lr: [1e-3, 2e-3, 4e-3]}",
        "method: sobol\n  ranges: {lr: [0.001, 0.03]}",
        "search.ranges.lr: give a mapping of the keys low, high, log",
    ),
    (
        "lr: [1e-3, 2e-3, 4e-3]",
        "tokens-per-sample: [64, 128]",
        "search: --tokens-per-sample changes what a loss is; leave it in training",
    ),
    (" --residual pre", "", "arms.resdual is the same as arms.pre"),
    ("depths: [6, 12+3]", "depths: [6, 6+6]", "depths: a value stands there twice"),
    ("heads: 2}", "heads: 2}\n  - {width: 32, ffn: 9, heads: 2}", "two have the same width"),
    ("  depth: 6", "  depth: 6\n  latency: -1", "criteria.latency: input should be greater"),
    ("  depth: 6", "  depth: 6\n  latency: 0.1\nmeasure: false", "measure is false, so nothing"),
    ("seeds: [101, 102]", "seeds: [-1, 102]", "seeds.0: input should be greater"),
    ("depths: [6, 12+3]", "depth: [6]", "line 9: there is no key depth; did you mean depths?"),
    (
        "  source_lang: src",
        "  sourcelang: src",
        "line 4: there is no key data.sourcelang; did you mean data.source_lang?",
    ),
    (
        "  baseline: pre",
        "  baselin: pre",
        "line 19: there is no key criteria.baselin; did you mean criteria.baseline?",
    ),
    (
        "name: good",
        "name: good\nmargin: 1",
        "line 2: there is no key margin; did you mean criteria.margin?",
    ),
    ("name: good", "name: good\nxyzzy: 1", "line 2: there is no key xyzzy; known are name"),
    ("name: good", "name: good\nlimits: {hour: 3}", "did you mean limits.hours?"),
    ("seeds: [101, 102]\n", "", "the key seeds is missing"),
    ("  baseline: pre\n", "", "line 17: the key criteria.baseline is missing"),
    ("heads: 2", "heads: two", "line 11: widths.0.heads: input should be a valid integer"),
    ("width: 32", "width: 33", "line 11: widths.0: width 33 does not divide into 2 heads"),
    ("[6, 12+3]", "[6, 0]", "line 9: depths.1: '0' is no depth"),
    ("[6, 12+3]", "[6, 12-3]", "'12-3' is no depth; give layers such as 12, or 12+3"),
    ("[6, 12+3]", "[6, 6]", "depths: a value stands there twice"),
    ("[6, 12+3]", "[]", "line 9: depths"),
    ("seeds: [101, 102]", "seeds: [101, 101]", "line 16: seeds: a value stands there twice"),
    ("seeds: [101, 102]", "seeds: [1, 102]", "1 is a seed of tuning, too"),
    ("seeds: [101, 102]", "seeds: []", "line 16: seeds"),
    ("unit: updates", "unit: steps", "line 13: budgets.unit: input should be 'updates', 'epochs'"),
    ("values: [20, 40]", "values: [20, -40]", "budgets.values.1: input should be greater than 0"),
    ("values: [20, 40]", "values: [20, .inf]", "budgets.values.1: '.inf' is no finite number"),
    (
        "--max-tokens 1000",
        "--max-tokens 1000 --seed 3",
        "line 12: training: --seed is set by the study itself",
    ),
    (
        "--residual pre",
        "--residual pre --encoder-layers 6",
        "--encoder-layers is set by the study itself",
    ),
    ("--residual pre", "--residual 'pre", "cannot be read as options"),
    (
        "  candidate: resdual",
        "  candidate: residual",
        "there is no arm 'residual'; there are: pre, resdual",
    ),
    ("  candidate: resdual", "  candidate: pre", "candidate and baseline are the same arm"),
    ("  depth: 6", "  depth: 18", "line 20: criteria.depth: 18 is not among depths: 6, 12+3"),
    ("  depth: 6", "  depth: 6\n  metric: bleau", "line 21: criteria.metric"),
    ("  depth: 6", "  depth: 6\n  metric: perplexity", "perplexity is of language_modeling"),
    ("  depth: 6", "  depth: 6\n  metric: comet", "comet needs the key comet"),
    ("  depth: 6", "  depth: 6\n  metric: valid_loss", "valid_loss needs criteria.margin"),
    ("--max-tokens 1000", "--no-save-optimizer-state", "is set by the study itself"),
    (
        "  depth: 6",
        "  depth: 6\n  margin: 0",
        "line 21: criteria.margin: input should be greater than 0",
    ),
    ("  target_lang: tgt\n", "", "translation needs source_lang and target_lang"),
    ("  data_bin: data-bin\n", "", "give either data_bin or text"),
    ("  data_bin: data-bin\n", "  text: [a, a]\n", "text names the same file twice"),
    ("target_lang: tgt", "target_lang: src", "source_lang and target_lang are the same"),
    ("  target_lang: tgt", "  target_lang: tgt\n  fractions: [0.5]", "fractions must hold 1.0"),
    ("values: {lr: [1e-3, 2e-3, 4e-3]}", "method: sobol", "method sobol takes ranges"),
    ("lr: [1e-3, 2e-3, 4e-3]", "lr: [1e-3, 1e-3]", "values of lr: give one or more, each once"),
    ("lr: [1e-3, 2e-3, 4e-3]", "lr: [-1e-3, 1e-3]", "are not all learning rates above 0"),
    ("lr: [1e-3, 2e-3, 4e-3]", "seed: [1, 2]", "seed cannot be searched"),
    (
        "values: {lr: [1e-3, 2e-3, 4e-3]}",
        "values: {lr: [1e-3]}\n  budget: 30",
        "30 is not among budgets.values",
    ),
    ("name: good", "comet: {command: x}", "line 2: data.source: comet needs the test set's source"),
    ("unit: updates", "unit: money", "money needs prices.hour"),
    ("name: good", "name: good\nname: again", "line 2: name stands there twice"),
    ("name: good", "name: [good", "mend the YAML there"),
    ("name: good", "name: good\nstages: {depth: {seeds: 3}}", "there are only 2 seeds"),
    ("  pre: --arch", "  a b: x\n  pre: --arch", "'a b' is no name"),
]


def test_the_good_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(GOOD)
    spec = read_spec(path)
    assert spec.depths == ["6", "12+3"]
    assert spec.arms["pre"].options == ["--arch", "resdual_transformer", "--residual", "pre"]
    assert spec.data.data_bin == tmp_path / "data-bin"
    assert spec.folder == tmp_path / "study"
    # To YAML 1.1 this language is false.
    path.write_text(GOOD.replace("source_lang: src", "source_lang: no"))
    assert read_spec(path).data.source_lang == "no"


@pytest.mark.parametrize("fault", range(len(FAULTS)))
def test_a_fault_is_named(tmp_path: Path, fault: int) -> None:
    before, after, told = FAULTS[fault]
    assert before in GOOD
    path = tmp_path / "study.yaml"
    path.write_text(GOOD.replace(before, after, 1))
    with pytest.raises(ResDualError) as error:
        read_spec(path)
    assert told in str(error.value)
    assert str(error.value).startswith(str(path))


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(GOOD.replace("name:", "nam:").replace("heads: 2", "heads: 0"))
    with pytest.raises(ResDualError) as error:
        read_spec(path)
    assert "line 1: there is no key nam" in str(error.value)
    assert "line 11: widths.0.heads" in str(error.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"- 1\n", b"a: &x [*x]\n"])
def test_no_spec_at_all(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "study.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ResDualError, match=str(path)):
        read_spec(path)


def test_every_option_that_the_study_gives_names_a_key() -> None:
    assert "--lr-scheduler" in SET_BY_THE_STUDY and "--lr" not in SET_BY_THE_STUDY


@pytest.mark.parametrize("kind", ["data_bin", "language_model", "text"])
def test_a_new_spec_can_be_read_and_explains_every_key(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "new.yaml"
    data_bin = tmp_path / "data-bin"
    data_bin.mkdir()
    text = None
    if kind == "text":
        text = (tmp_path / "a.en", tmp_path / "a.de")
        for one in text:
            one.write_text("a line\n" * 500)
    elif kind == "data_bin":
        (data_bin / "train.en-de.en.idx").touch()
    else:
        (data_bin / "train.idx").touch()
    write_spec(path, None if text else data_bin, text, [])
    spec = read_spec(path)
    assert spec.task == ("language_modeling" if kind == "language_model" else "translation")
    if kind != "language_model":
        assert (spec.data.source_lang, spec.data.target_lang) == ("en", "de")
    assert spec.data.test_lines == spec.data.valid_lines == (50 if kind == "text" else 1000)
    assert spec.data.vocabulary == (1000 if kind == "text" else 8000)
    assert (spec.criteria.latency is None) == (kind == "language_model")
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if line.startswith(("  ", "name", "seeds")) and line.strip().endswith(":"):
            assert lines[number - 1].strip().startswith("#")
    with pytest.raises(ResDualError, match="exists"):
        write_spec(path, data_bin, None, [])


def test_languages_of_a_text_are_those_of_the_files_that_are_made(tmp_path: Path) -> None:
    for name in ("a.pt-BR", "a.en"):
        (tmp_path / name).write_text("a line\n" * 500)
    write_spec(tmp_path / "new.yaml", None, (tmp_path / "a.pt-BR", tmp_path / "a.en"), [])
    data = read_spec(tmp_path / "new.yaml").data
    assert (data.source_lang, data.target_lang) == ("pt_BR", "en")


def test_a_new_spec_breaks_no_long_path(tmp_path: Path) -> None:
    data_bin = tmp_path / ("joined-" * 15) / ("of a  deep tree: " * 10 + "x")
    data_bin.mkdir(parents=True)
    (data_bin / "train.en-de.en.idx").touch()
    for language in ("en", "de"):
        (data_bin / f"dict.{language}.txt").write_text("a 1\n")
    write_spec(tmp_path / "new.yaml", data_bin, None, [])
    assert read_spec(tmp_path / "new.yaml").data.data_bin == data_bin


def test_a_new_spec_fits_its_data_bin(tmp_path: Path) -> None:
    """One dictionary or two, a folder beside it, and its direction."""
    data_bin = tmp_path / "de-en"
    data_bin.mkdir()
    (data_bin / "train.en-de.en.idx").touch()
    for language in ("en", "de"):
        (data_bin / f"dict.{language}.txt").write_text("a 1\n")
    write_spec(tmp_path / "one.yaml", data_bin, None, [])
    assert "--share-all-embeddings" in read_spec(tmp_path / "one.yaml").training
    (data_bin / "dict.de.txt").write_text("b 1\n")
    write_spec(tmp_path / "de-en.yaml", data_bin, None, [])
    spec = read_spec(tmp_path / "de-en.yaml")
    assert "--share-decoder-input-output-embed" in spec.training
    assert spec.folder == tmp_path / "de-en-study"
    with pytest.raises(ResDualError, match="in its own direction, with -s de -t en"):
        write_spec(tmp_path / "back.yaml", data_bin, None, ["de", "en"])


@pytest.mark.parametrize(
    ("tokens", "batch"), [(0, 1000), (40_000, 1000), (10**6, 1000), (10**8, 4096)]
)
def test_a_new_specs_warm_up_fits_into_its_smallest_budget(tokens: int, batch: int) -> None:
    words = batches_for(tokens).split()
    warm_up = int(words[words.index("--warmup-updates") + 1])
    assert words[-1] == str(batch)
    assert warm_up <= 0.8 * 5 * tokens / batch and (warm_up or tokens < 1000)


def test_a_sentence_gets_the_line_of_the_key_that_it_begins_with(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(GOOD)
    told = located(path, "search.values.lr: a fault")
    number = int(re.findall(r", line (\d+): search.values.lr: a fault", told)[0])
    assert GOOD.splitlines()[number - 1].strip().startswith("values: {lr")
    assert located(path, "no key of it: a fault") == "no key of it: a fault"


def test_texts_that_make_no_study_are_named(tmp_path: Path) -> None:
    one, other = tmp_path / "a", tmp_path / "b"
    one.write_text("a line\n")
    with pytest.raises(ResDualError, match="there is no file"):
        write_spec(tmp_path / "new.yaml", None, (one, other), [])
    other.touch()
    with pytest.raises(ResDualError, match="b is empty"):
        write_spec(tmp_path / "new.yaml", None, (one, other), ["en", "de"])
    other.write_text("a line\n")
    with pytest.raises(ResDualError, match="give --languages SOURCE TARGET"):
        write_spec(tmp_path / "new.yaml", None, (one, other), [])


def test_what_changed_in_a_spec_is_told(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path)
    assert lock.remember(*studies.study_of(path)) == []
    assert lock.remember(*studies.study_of(path)) == []
    changes: Dict[str, Any] = {"seeds": [101, 102, 103], "threads": 2}
    path = studies.write_spec(tmp_path, **changes)
    assert lock.remember(*studies.study_of(path)) == [
        "the spec has changed:",
        "  seeds: [101, 102] -> [101, 102, 103]",
        "  threads: 1 -> 2",
        "results that the change does not touch are used, others stay in the folder unused",
    ]
    for damaged in ("name: [", ": [", "cut", "a: 1\na: {b", "\0"):
        (tmp_path / "study" / lock.NAME).write_text(damaged)
        (told,) = lock.remember(*studies.study_of(path))
        assert "was damaged and is written anew" in told
        assert lock.remember(*studies.study_of(path)) == []
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").touch()
    path = studies.write_spec(tmp_path, folder=str(other))
    with pytest.raises(ResDualError, match="holds other things than a study"):
        lock.remember(*studies.study_of(path))
    assert yaml.safe_load((tmp_path / "study" / lock.NAME).read_text())["seeds"] == [101, 102, 103]


def test_a_kill_while_the_spec_is_kept_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    spec, study = studies.study_of(studies.write_spec(tmp_path))
    study.path.mkdir()
    (study.path / f"{lock.NAME}.1a2b.unfinished").write_text("data")
    assert lock.remember(spec, study) == []
    assert lock.read(study.path / lock.NAME) is not None


def test_changes_are_kept_with_how_many_models_had_been_tested(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, depths=[2])
    lock.remember(*studies.study_of(path))
    studies.work(path)
    assert collect(*studies.study_of(path)).unused_seconds == 0
    study = studies.study_of(path)[1]
    for name, one in study.records().items():
        (study.folder(name) / "result.json").unlink()
        study.write({**one, "seconds": 10.0})
    criteria = {**studies.SPEC["criteria"], "metric": "chrf"}
    path = studies.write_spec(tmp_path, depths=[2], criteria=criteria)
    before = lock.history(*studies.study_of(path))
    assert [(one.scored, one.keys) for one in before] == [(8, ("criteria.metric: bleu -> chrf",))]
    lock.remember(*studies.study_of(path))
    path = studies.write_spec(tmp_path, depths=[2], criteria=criteria, seeds=[101])
    assert len(lock.remember(*studies.study_of(path))) == 3
    assert lock.remember(*studies.study_of(path)) == []
    findings = collect(*studies.study_of(path))
    assert [one.keys[0] for one in findings.changes] == [
        "criteria.metric: bleu -> chrf", "seeds: [101, 102] -> [101]"
    ]  # fmt: skip
    # Of each arm's other seed two parts of a trunk, two branches, and a test of each.
    assert findings.unused_seconds == 2 * 6 * 10


@pytest.mark.parametrize("unit", ["hours", "money"])
def test_where_time_is_equal_it_is_no_criterion(unit: str, tmp_path: Path) -> None:
    path = studies.write_spec(
        tmp_path,
        budgets={"unit": unit, "values": [1]},
        prices={"hour": 1},
        measure=True,
        criteria={**studies.SPEC["criteria"], "training_cost": 0.05},
    )
    with pytest.raises(ResDualError, match=r"line \d+: criteria.training_cost: with budgets in"):
        studies.study_of(path)


def test_a_study_that_moved_with_its_data_has_not_changed(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    path = studies.write_spec(old, folder="study")
    assert lock.remember(*studies.study_of(path)) == []
    old.rename(new)
    path = studies.write_spec(new, folder="study")
    assert lock.remember(*studies.study_of(path)) == []
