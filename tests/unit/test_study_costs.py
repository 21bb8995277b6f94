"""Protects the measured costs: their intervals, ratios and FLOPs are right, and arms take turns."""

import json
import re
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
import psutil
import pytest
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from helpers.commands import preprocess, write_reversals
from helpers.models import PAD, TINY, build, sample, task
from scipy import stats

from resdual_fairseq.study.analysis.table import Cell, Interval
from resdual_fairseq.study.engine.attempt import Attempt, LostLease
from resdual_fairseq.study.engine.outcomes import Ending
from resdual_fairseq.study.engine.tasks import StudyFolder, Task
from resdual_fairseq.study.measuring.costs import NAMES, costs_of, flops_of, measure
from resdual_fairseq.study.measuring.figures import Figures, quantile_interval
from resdual_fairseq.study.measuring.flops import flops_per_update
from resdual_fairseq.study.measuring.one_size import Sizes, train_words
from resdual_fairseq.study.measuring.turns import Answer, ArmProcess, Contestant, Failed, in_turns
from resdual_fairseq.study.spec.keys import Spec

QUICK = Sizes(
    memory_processes=1, memory_updates=1, training_rounds=6, updates=1, rounds=6, sentences=60,
    batch_rounds=6, batch_sentences=20, look_seconds=0.1,
)  # fmt: skip

pytestmark = pytest.mark.slow
LEVEL = 0.95


class Logged:
    """A contestant that writes down what is asked of it; it may fail in a turn."""

    def __init__(self, name: str, log: List[str], fails_at: Optional[int] = None) -> None:
        self.name, self.log, self.fails_at = name, log, fails_at

    def answer(self) -> Answer:
        self.log.append(f"{self.name} ready")
        return {"name": self.name}

    def turn(self, number: int) -> Answer:
        if number == self.fails_at:
            raise Failed(Ending("out of memory", "none left"))
        self.log.append(f"{self.name}{number}")
        return {"number": number}

    def close(self) -> None:
        self.log.append(f"{self.name} closed")


def test_arms_take_turns() -> None:
    log: List[str] = []
    arms: Dict[str, Contestant] = {name: Logged(name, log) for name in "ABC"}
    found = in_turns(arms, 3, lambda: log.append("look"))
    ready, closed = ([f"{name} {word}" for name in "ABC"] for word in ("ready", "closed"))
    turns = ["A0", "B0", "C0", "C1", "B1", "A1", "A2", "B2", "C2"]
    assert log == [*ready, "look", *turns, *reversed(closed)]
    assert found.turns["B"] == [{"number": number} for number in range(3)]
    assert found.facts["C"] == {"name": "C"} and not found.failed


def test_an_arm_that_fails_leaves_the_others_their_turns() -> None:
    log: List[str] = []
    arms: Dict[str, Contestant] = {"A": Logged("A", log), "B": Logged("B", log, fails_at=1)}
    found = in_turns(arms, 3)
    assert found.failed == {"B": Ending("out of memory", "none left")}
    assert len(found.turns["A"]) == 3 and "B closed" in log


@pytest.mark.parametrize("share", [0.5, 0.95])
@pytest.mark.parametrize("count", [6, 15, 200, 1000])
def test_order_statistics_hold_the_quantile_as_often_as_they_say(count: int, share: float) -> None:
    """Ranks l and u hold it with the chance that l to u - 1 of the values are below."""
    found = quantile_interval(list(range(1, count + 1)), share, LEVEL)
    below = stats.binom(count, share).cdf
    low = 0 if found.low is None else int(found.low)
    high = count + 1 if found.high is None else int(found.high)
    tail = (1 - LEVEL) / 2
    assert below(low - 1) <= tail < below(low)  # one rank more would be too many
    assert 1 - below(high - 1) <= tail < 1 - below(high - 2)
    assert found.estimate == pytest.approx(np.quantile(range(1, count + 1), share))


def test_the_bounds_of_few_values_are_open() -> None:
    assert quantile_interval([3.0, 1.0, 2.0], 0.5, LEVEL) == (2.0, None, None)
    assert quantile_interval([3.0, 1.0, 2.0, 5.0, 4.0, 6.0], 0.5, LEVEL) == (3.5, 1.0, 6.0)


def test_a_p95_of_a_thousand_sentences_is_known_to_three_percent() -> None:
    found = quantile_interval([float(rank) for rank in range(1, 1001)], 0.95, LEVEL)
    assert (found.low, found.high) == (936.0, 964.0)


def test_intervals_of_ratios_hold_the_truth() -> None:
    """Rounds are slow or quick for both arms alike, which the pairs take out."""
    rng = np.random.default_rng(3)
    held, widths = [], []
    for _ in range(1000):
        shared = rng.lognormal(0, 0.5, 15)
        ours, theirs = Figures(LEVEL), Figures(LEVEL)
        for figures, factor in ((ours, 1.05), (theirs, 1.0)):
            noise = rng.lognormal(0, 0.02, 15)
            figures.add_rounds("step_seconds", list(factor * shared * noise))
        ratio = ours.over(theirs)["step_seconds"]
        assert ratio.low is not None and ratio.high is not None
        held.append(ratio.low <= 1.05 <= ratio.high)
        widths.append(ratio.high - ratio.low)
    assert np.mean(held) > 0.95 and np.mean(widths) < 0.05


def test_counts_have_exact_ratios_and_only_what_both_have_is_compared() -> None:
    ours, theirs = Figures(LEVEL), Figures(LEVEL)
    ours.add_steady({"parameters": [110.0], "int8_size_mb": [1.0], "memory_gib": [1.1, 1.2]})
    theirs.add_steady({"parameters": [100.0], "memory_gib": [1.0, 1.0]})
    ratios = ours.over(theirs)
    assert ratios == {
        "parameters": pytest.approx((1.1, 1.1, 1.1)),
        "memory_gib": pytest.approx((1.15, 1.1, 1.2)),
    }


def test_latencies_are_of_all_sentences_and_paired_by_rounds() -> None:
    turns = [
        {"latencies": [1.0, 3.0], "memory_gib": 1.0, "seconds": 2.0, "sentences": 4},
        {"latencies": [2.0, 6.0], "memory_gib": 1.5},
    ]
    figures = Figures(LEVEL)
    figures.add_translating(turns, "int8_")
    assert figures.values["int8_latency_p50"].estimate == 2.5
    assert figures.series["int8_latency_p50"] == [2.0, 4.0]
    assert figures.values["int8_sentences_per_second"].estimate == 2.0
    assert figures.values["int8_generation_memory_gib"] == Interval(1.5)


def products_by_hand(batch: Dict[str, Any], width: int, ffn: int, words: int) -> int:
    """FLOPs of an update: 2 m k n a product, and twice that backward; layers as in TINY."""
    rows, source = batch["net_input"]["src_tokens"].shape
    target = batch["target"].size(1)
    attention = 2 * 2 * rows * width  # logits and weighted sums, of one query and one key
    encoder = 2 * rows * source * (4 * width * width + 2 * width * ffn) + attention * source**2
    decoder = 2 * rows * target * (6 * width * width + 2 * width * ffn)
    decoder += 2 * rows * source * 2 * width * width  # keys and values of the source
    decoder += attention * target * (target + source)
    layers = TINY["encoder_layers"] * encoder + TINY["decoder_layers"] * decoder
    return 3 * (layers + 2 * rows * target * width * words)


@pytest.mark.parametrize("kind", ["resdual", "pre"])
def test_flops_are_those_of_a_count_by_hand(kind: str) -> None:
    width, ffn = 32, 64
    model = build(
        residual=kind, encoder_embed_dim=width, encoder_ffn_embed_dim=ffn, share_all_embeddings=True
    )
    criterion = LabelSmoothedCrossEntropyCriterion(task(), False, 0.1)
    batch = sample()
    counted = flops_per_update(model, criterion, [[batch, batch], [batch, batch]])
    words = model.decoder.output_projection.weight.size(0)
    assert batch["target"].eq(PAD).any()  # padding is computed, hence counted
    assert counted == pytest.approx(2 * products_by_hand(batch, width, ffn, words), rel=0.01)


def quick_spec(data_bin: Path) -> Spec:
    return Spec.model_validate(
        {
            "data": {"data_bin": data_bin, "source_lang": "src", "target_lang": "tgt"},
            "arms": {"host": "--arch transformer", "resdual": "--arch resdual_transformer"},
            "depths": ["1"],
            "widths": [{"width": 32, "ffn": 32, "heads": 2}],
            "training": "--share-all-embeddings --optimizer adam --max-tokens 1000",
            "budgets": {"values": [20]},
            "search": {"values": {"lr": [2e-3]}},
            "seeds": [11],
            "decoding": {"options": "--beam 2 --max-tokens 500"},
            "criteria": {"candidate": "resdual", "baseline": "host", "depth": "1"},
        }
    )


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("costs")
    write_reversals(folder)
    return preprocess(folder / "data-bin", folder)


def an_attempt(data_bin: Path, run: Path, is_lost: bool = False) -> Attempt:
    study = StudyFolder(run / "study")
    task = Task("measure", inputs={"depth": "1+1", "width": 32})
    return Attempt(task, quick_spec(data_bin), study, run, lambda: is_lost)


@pytest.mark.slow
def test_two_arms_are_measured(data_bin: Path, tmp_path: Path) -> None:
    """fairseq's own model, too, which has no weights of 8 bits."""
    ending, found = measure(an_attempt(data_bin, tmp_path), QUICK)
    assert ending.outcome == "completed" and found["failed"] == [] and len(found["idle"]) == 2
    costs = {cost.arm: cost for cost in costs_of(json.loads(json.dumps(found)))}
    host, ours = costs["host"], costs["resdual"]
    int8 = {name for name in NAMES if name.startswith("int8_")}
    optional = {"energy_joules", "scoring_tokens_per_second"}
    assert set(ours.values) - optional == set(NAMES) - optional
    assert set(host.values) == set(ours.values) - int8 == set(ours.ratios)
    assert ours.depth == "1+1" and ours.width == 32
    assert ours.ratios["parameters"].estimate == pytest.approx(1.0, abs=0.02)
    for cost in (host, ours):
        assert 0.1 < cost.values["memory_gib"].estimate < 2
        assert all(one.estimate > 0 for one in cost.values.values())
        for name in ("step_seconds", "latency_p50", "sentences_per_second"):
            assert None not in cost.values[name] and None not in cost.ratios[name]
    log = (tmp_path / "resdual 1+1x32 int8.log").read_text()
    assert re.search(r"the decoder runs in", log)  # prepared as fairseq-generate prepares it


@pytest.mark.slow
def test_flops_of_a_command_line(data_bin: Path, tmp_path: Path) -> None:
    attempt = an_attempt(data_bin, tmp_path)
    words = train_words(attempt, Cell("resdual", "1+1", 32, 1.0))
    assert flops_of(attempt, words) > 1e7


def test_a_process_that_ends_early_says_why(data_bin: Path, tmp_path: Path) -> None:
    unable = {"PYTHONHASHSEED": "nonsense"}  # Python does not even start
    process = ArmProcess(an_attempt(data_bin, tmp_path), "training", {}, "unable", unable)
    with pytest.raises(Failed, match="PYTHONHASHSEED must be") as failure:
        process.turn(0)
    assert failure.value.ending.outcome == "crashed"
    process.close()


def test_a_lost_task_ends_its_processes(data_bin: Path, tmp_path: Path) -> None:
    attempt = an_attempt(data_bin, tmp_path, is_lost=True)
    with pytest.raises(LostLease):
        measure(attempt, QUICK)
    assert (tmp_path / "host 1+1x32 memory 1.log").exists()
    children = psutil.Process().children(recursive=True)
    assert not any(
        "resdual_fairseq.study.measuring.program" in child.cmdline() for child in children
    )
