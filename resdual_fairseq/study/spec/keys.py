"""What a study compares: the keys of its YAML file, what they mean, and what they may hold.

Every key stands here once, with its help; ``resdual-study new`` writes them out with these texts.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Dict, List, Literal, Optional, Tuple, Union

from pydantic import Field, model_validator

from ...preparation.languages import file_code
from .option_lines import ALIKE_FOR_ALL, CONTEXT, SIZE_OF_UPDATES
from .parts import Count, Depth, Options, Part, Positive, Real, Seed, Share, Value
from .search_space import Search

Task = Literal["translation", "language_modeling"]
Unit = Literal["updates", "epochs", "tokens", "flops", "hours", "money"]
Metric = Literal["bleu", "chrf", "ter", "comet", "valid_loss", "perplexity"]
LOWER_IS_BETTER = ("ter", "valid_loss", "perplexity")


class Data(Part):
    """Where the text comes from: a data-bin, or two files of text that the study prepares."""

    data_bin: Optional[Path] = Field(None, description="a folder made by fairseq-preprocess")
    text: Optional[Tuple[Path, Path]] = Field(
        None, description="in place of data_bin: two files, line by line translations of each other"
    )
    source_lang: Optional[str] = Field(None, description="language of the source, as in data_bin")
    target_lang: Optional[str] = Field(None, description="language of the target")
    reference: Optional[Path] = Field(
        None,
        description="the test set's target as plain text; else the data-bin's tokens are scored",
    )
    source: Optional[Path] = Field(
        None, description="the test set's source as plain text, for COMET and for examples"
    )
    vocabulary: Count = Field(8000, description="symbols of the joint BPE (with text)")
    test_lines: Count = Field(
        1000,
        description="lines held out for the test, about: whole blocks of neighbours (with text)",
    )
    valid_lines: Count = Field(1000, description="lines held out for validation, alike (with text)")
    fractions: List[Annotated[Real, Field(gt=0, le=1)]] = Field(
        [1.0], description="shares of the training pairs, nested in one another, for the data curve"
    )

    @model_validator(mode="after")
    def named_as_files(self) -> "Data":
        """Of text the study makes the files itself, whose names have '_' for '-'."""
        if self.text is None or self.source_lang is None or self.target_lang is None:
            return self
        codes = {
            "source_lang": file_code(self.source_lang), "target_lang": file_code(self.target_lang)
        }  # fmt: skip
        return self.model_copy(update=codes)

    @model_validator(mode="after")
    def one_source(self) -> "Data":
        if (self.data_bin is None) == (self.text is None):
            raise ValueError("give either data_bin or text")
        if self.text is not None and (self.reference or self.source):
            raise ValueError(
                "reference and source go with data_bin; of text, test lines are held out"
            )
        if self.text is not None and self.text[0] == self.text[1]:
            raise ValueError("text names the same file twice; give source and target")
        if self.source_lang is not None and self.source_lang == self.target_lang:
            raise ValueError("source_lang and target_lang are the same; give both sides'")
        if 1.0 not in self.fractions:
            raise ValueError("fractions must hold 1.0, all of the data")
        return self


class Arm(Part):
    """One side of the comparison: an architecture that fairseq's options reach."""

    options: Options = Field(description="options of fairseq-train, such as --arch and --residual")
    user_dir: Optional[Path] = Field(
        None, description="a --user-dir of your own; default: this package"
    )


class Width(Part):
    """The size of a layer."""

    width: Count = Field(description="embedding width")
    ffn: Count = Field(description="feed-forward width")
    heads: Count = Field(description="attention heads")

    @model_validator(mode="after")
    def divides(self) -> "Width":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide into {self.heads} heads")
        return self


class Budgets(Part):
    """How long each run trains; the values are points of one curve over training time."""

    unit: Unit = Field("updates", description="what is equal between arms at each point")
    values: List[Positive] = Field(min_length=1, description="the points; the largest decides")
    cooldown: Annotated[Real, Field(gt=0, lt=1)] = Field(
        0.2, description="share of a budget in which the learning rate falls to 0, in a branch"
    )

    @property
    def is_timed(self) -> bool:
        """Whether measured speeds decide how many updates an arm has."""
        return self.unit in ("hours", "money")


class Stage(Part):
    """When a stage ends the study before the next one."""

    stop_below: Optional[Real] = Field(
        None,
        description="stop after this stage when the candidate's gain over the baseline, in the "
        "criteria's metric, is below this at every depth, budget and share seen; default: never",
    )


class DepthStage(Stage):
    """Stage 1: every arm at every depth, at the largest budget."""

    seeds: Count = Field(1, description="judging seeds of this stage, the first of the list")


class CurveStage(Stage):
    """Stage 2: the smaller budgets, and smaller shares of the data."""

    depths: Optional[List[Depth]] = Field(
        None, description="depths of the data curve; default: the criteria's"
    )


class Stages(Part):
    """The order of work: depth, then training time and data, then all seeds."""

    depth: DepthStage = DepthStage()
    curves: CurveStage = CurveStage()


class Decoding(Part):
    """How test sentences are translated."""

    options: Optional[Options] = Field(
        None,
        description="options of fairseq-generate, such as --beam, --lenpen, --bpe (or of "
        "fairseq-eval-lm); default: --beam 5",
    )


class Limits(Part):
    """What a single run may take; beyond it the run is a failure in the table."""

    hours: Optional[Positive] = Field(None, description="hours of a run, all its attempts together")
    memory_gib: Optional[Positive] = Field(None, description="memory of a run's process in GiB")
    retries: Annotated[int, Field(ge=0)] = Field(
        10, description="attempts after a run was killed from outside"
    )


class Prices(Part):
    """What things cost, for the money in the report."""

    currency: str = "EUR"
    hour: Annotated[Real, Field(ge=0)] = Field(
        0.0,
        description="an hour of one worker: the machine's price divided by its workers",
    )
    kwh: Annotated[Real, Field(ge=0)] = Field(0.0, description="a kWh, where energy was measured")
    sentences: Count = Field(
        1_000_000, description="sentences that are served, for the money a year"
    )


class Criteria(Part):
    """What has to hold for "adopt": one primary endpoint, and bounds on costs."""

    candidate: str = Field(description="the arm that may be adopted")
    baseline: str = Field(description="the arm that is used now")
    metric: Metric = Field("bleu", description="of the primary endpoint")
    depth: Depth = Field(description="of the primary endpoint")
    margin: Positive = Field(0.5, description="the least gain in the metric that is worth a change")
    level: Annotated[Real, Field(gt=0.5, lt=1)] = Field(0.95, description="of the intervals")
    training_cost: Optional[Share] = Field(
        None, description="training time at most this share above the baseline's, such as 0.05"
    )
    latency: Optional[Share] = Field(None, description="the same for one sentence's translation")
    memory: Optional[Share] = Field(None, description="the same for peak memory in training")


class Comet(Part):
    """COMET, from another environment (its packages clash with fairseq's)."""

    command: Path = Field(description="the comet-score of an environment that has it")
    model: str = "Unbabel/wmt22-comet-da"


class Spec(Part):
    """The whole file."""

    name: str = Field("study", description="shown in the report")
    task: Task = Field("translation", description="translation or language_modeling")
    data: Data
    arms: Dict[str, Arm] = Field(
        min_length=2,
        description="name: its options, or {options: ..., user_dir: a --user-dir of your own}",
    )
    depths: List[Depth] = Field(min_length=1, description="layers, such as 6 (each side) or 12+3")
    widths: List[Width] = Field(min_length=1, description="the first one is judged")
    training: Options = Field(description="options of fairseq-train that all arms share")
    budgets: Budgets
    search: Search
    seeds: List[Seed] = Field(min_length=1, description="fresh seeds, on which arms are judged")
    decoding: Decoding = Decoding()
    stages: Stages = Stages()
    criteria: Criteria
    limits: Limits = Limits()
    prices: Prices = Prices()
    threads: Count = Field(1, description="threads of each run on a CPU")
    save_interval: Count = Field(500, description="updates between checkpoints: what a kill costs")
    folder: Optional[Path] = Field(
        None, description="where the study works; default: the file's name without .yaml, beside it"
    )
    keep_checkpoints: bool = Field(False, description="keep the weights of judged runs")
    measure: bool = Field(
        True, description="measure time, memory and latency when all runs are done"
    )
    comet: Optional[Comet] = None
    slurm: Dict[str, Union[bool, Value, List[str], Dict[str, Value]]] = Field(
        {}, description="keys of sbatch as submitit names them, such as partition, time: 120"
    )

    @model_validator(mode="before")
    @classmethod
    def short_arms(cls, values: Any) -> Any:
        """``pre: "--arch ..."`` stands for ``pre: {options: "--arch ..."}``."""
        if isinstance(values, dict) and isinstance(values.get("arms"), dict):
            arms = {
                name: {"options": arm} if isinstance(arm, str) else arm
                for name, arm in values["arms"].items()
            }
            return {**values, "arms": arms}
        return values

    @model_validator(mode="after")
    def agrees(self) -> "Spec":
        for problem in contradictions(self):
            raise ValueError(problem)
        return self


def contradictions(spec: Spec) -> List[str]:
    """What no single key shows to be wrong."""
    found = []
    criteria = spec.criteria
    for key in ("candidate", "baseline"):
        if getattr(criteria, key) not in spec.arms:
            found.append(
                f"criteria.{key}: there is no arm '{getattr(criteria, key)}'; there are: "
                + ", ".join(spec.arms)
            )
    if criteria.candidate == criteria.baseline:
        found.append("criteria: candidate and baseline are the same arm")
    for name in spec.arms:
        if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name):
            found.append(f"arms: '{name}' is no name; take letters, digits, . + - _")
    depths = [("criteria.depth", criteria.depth)]
    depths += [("stages.curves.depths", one) for one in spec.stages.curves.depths or []]
    for key, depth in depths:
        if depth not in spec.depths:
            found.append(f"{key}: {depth} is not among depths: {', '.join(spec.depths)}")
    if spec.task == "translation":
        if criteria.metric == "perplexity":
            found.append("criteria.metric: perplexity is of language_modeling; take bleu")
        if spec.data.source_lang is None or spec.data.target_lang is None:
            found.append("data: translation needs source_lang and target_lang")
        if spec.comet is not None and spec.data.data_bin is not None and spec.data.source is None:
            found.append("data.source: comet needs the test set's source as plain text; name it")
    else:
        if criteria.metric not in ("perplexity", "valid_loss"):
            found.append(
                f"criteria.metric: language_modeling has no {criteria.metric}; take perplexity"
            )
        if criteria.latency is not None:
            found.append("criteria.latency: is of translation; leave it out")
        if spec.data.text is not None:
            found.append("data.text is for translation; give language_modeling a data_bin")
        found += [f"depths: {d}: a language model has one stack" for d in spec.depths if "+" in d]
    if criteria.metric == "comet" and spec.comet is None:
        found.append("criteria.metric: comet needs the key comet, an environment that has it")
    if criteria.metric in ("comet", "valid_loss") and "margin" not in criteria.model_fields_set:
        found.append(
            f"criteria.metric: {criteria.metric} needs criteria.margin: the default, 0.5, is of "
            "scores from 0 to 100"
        )
    found += unlike(spec)
    shared = set(spec.seeds) & set(spec.search.seeds)
    if shared:
        found.append(f"seeds: {sorted(shared)[0]} is a seed of tuning, too; judge with fresh ones")
    for key, values in (
        ("seeds", spec.seeds),
        ("depths", spec.depths),
        ("budgets.values", spec.budgets.values),
        ("data.fractions", spec.data.fractions),
    ):
        if len(set(values)) < len(values):
            found.append(f"{key}: a value stands there twice")
    if spec.stages.depth.seeds > len(spec.seeds):
        found.append(f"stages.depth.seeds: there are only {len(spec.seeds)} seeds")
    if spec.search.budget is not None and spec.search.budget not in spec.budgets.values:
        found.append(f"search.budget: {spec.search.budget:g} is not among budgets.values")
    if spec.budgets.is_timed and criteria.training_cost is not None:
        found.append(
            f"criteria.training_cost: with budgets in {spec.budgets.unit} all arms train equally "
            "long; leave it out"
        )
    if spec.budgets.unit == "money" and spec.prices.hour == 0:
        found.append("budgets.unit: money needs prices.hour")
    return found


def unlike(spec: Spec) -> List[str]:
    """What would make the comparison unfair, or is asked for and never measured."""
    found = []
    searched = ["--" + name for name in (*spec.search.values, *spec.search.ranges)]
    for name, arm in spec.arms.items():
        given = [word.split("=")[0] for word in arm.options]
        for word in given:
            if word in ALIKE_FOR_ALL:
                found.append(f"arms.{name}: {word} has to be alike for all; move it to training")
            if word in searched:
                found.append(f"arms.{name}: {word} is searched; leave it out here")
        twin = next(one for one in spec.arms if spec.arms[one] == arm)
        if twin != name:
            found.append(f"arms.{name} is the same as arms.{twin}")
    for word in (word.split("=")[0] for word in spec.training):
        if word in searched:
            found.append(f"training: {word} is searched; leave it out here")
    for name in searched:
        if name in CONTEXT:
            found.append(f"search: {name} changes what a loss is; leave it in training")
        elif name in SIZE_OF_UPDATES:
            found.append(
                f"search: {name} changes what an update learns from and costs, so that arms would "
                "not be compared at equal budgets; leave it in training"
            )
    widths = [size.width for size in spec.widths]
    if len(set(widths)) < len(widths):
        found.append("widths: two have the same width; compare other sizes in a study of their own")
    if len({layers_of(depth) for depth in spec.depths}) < len(spec.depths):
        found.append("depths: a value stands there twice")
    if len(set(spec.search.seeds)) < len(spec.search.seeds):
        found.append("search.seeds: a value stands there twice")
    bounds = spec.criteria.model_dump(include={"training_cost", "latency", "memory"})
    costs = [key for key, bound in bounds.items() if bound is not None]
    if costs and not spec.measure:
        found.append(f"criteria.{costs[0]}: measure is false, so nothing would ever decide it")
    return found


def layers_of(depth: str) -> str:
    """``6`` of two stacks is 6+6; of one stack no depth has a plus."""
    return depth if "+" in depth else f"{depth}+{depth}"
