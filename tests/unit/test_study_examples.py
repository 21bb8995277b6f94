"""Protects examples/study: specs that can be read, and records that are whole."""

from pathlib import Path

from resdual_fairseq.study.engine.tasks import read_record
from resdual_fairseq.study.spec.reading import read_spec

STUDIES = Path(__file__).resolve().parents[2] / "examples" / "study"


def test_the_smoke_study_is_as_the_readme_says() -> None:
    spec = read_spec(STUDIES / "smoke.yaml")
    assert (len(spec.depths), len(spec.arms), len(spec.seeds)) == (2, 3, 2)


def test_the_depth_study_is_as_its_page_says() -> None:
    spec = read_spec(STUDIES / "multi30k" / "study.yaml")
    assert (spec.depths, len(spec.seeds)) == (["6", "12", "24"], 5)
    assert (spec.budgets.unit, spec.budgets.values) == ("epochs", [2, 4, 8])
    assert len(spec.search.values["lr"]) == 5


def test_its_records_are_whole_and_small() -> None:
    paths = sorted((STUDIES / "multi30k" / "results").glob("*.json"))
    assert paths
    for path in paths:
        assert read_record(path, path.stem)["outcome"]
        assert path.stat().st_size < 30_000
