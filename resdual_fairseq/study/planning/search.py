"""The search for each arm's values: the same trials for every arm, on the validation loss."""

from __future__ import annotations

import itertools
import math
from typing import Callable, Dict, Iterator, List, Literal, Optional, Sequence

from ..analysis.table import Cell
from ..engine.tasks import digest
from ..spec.option_lines import is_share, number
from ..spec.parts import Value
from ..spec.search_space import Range, Search, Values, clean, has_edges

Loss = Callable[[Cell, Values], Optional[float]]
Fits = Callable[[Values], bool]
Needs = Literal["all arms", "own trials", "any trial"]
DIGITS = 4
"""Significant digits of drawn values, so that they can be read and typed."""


def best(
    search: Search,
    cells: Sequence[Cell],
    loss: Loss,
    fits: Fits = lambda values: True,
    untrained: float = math.inf,
    needs: Needs = "all arms",
) -> Dict[str, Values]:
    """The best values of every arm whose search is done, by arm.

    Args:
        cells: one of each arm.
        loss: the validation loss of values, None while it is not known; asking plans the run.
        fits: whether a value that a grid would grow by can be trained with.
        untrained: the loss from which on an arm has learned nothing, so that it makes no grid grow.
        needs: what has to be known before an arm has best values: all that every arm tries; the
            values given, of the arm itself; or any trial. Other than the first is to be shown,
            never to work by.
    """
    if search.method == "tpe":
        found = {cell.arm: adaptive(search, cell, loss, needs) for cell in cells}
        return {arm: values for arm, values in found.items() if values is not None}
    trials = grid(search.values) if search.method == "grid" else spread(search)
    losses = all_losses(cells, trials, loss)
    if needs != "all arms":
        enough = all if needs == "own trials" else any
        losses = {
            arm: ones for arm, ones in losses.items() if enough(one is not None for one in ones)
        }
        cells = [cell for cell in cells if cell.arm in losses]
    values = {name: [number(one) for one in ones] for name, ones in search.values.items()}
    for _ in range(search.extend if search.method == "grid" else 0):
        if needs == "all arms" and not is_complete(losses):
            break
        tried = [ones for ones in losses.values() if needs == "any trial" or None not in ones]
        chosen = [lowest(trials, ones) for ones in tried if least(ones) < untrained]
        wider = extended(values, chosen, fits)
        if wider == values:
            break
        values = wider
        trials = grid(values)
        losses = all_losses(cells, trials, loss)
    if needs == "all arms" and not is_complete(losses):
        # Whoever is done may still have to try what another arm's edge adds.
        return {}
    return {cell.arm: lowest(trials, losses[cell.arm]) for cell in cells}


def all_losses(
    cells: Sequence[Cell], trials: List[Values], loss: Loss
) -> Dict[str, List[Optional[float]]]:
    """By arm; arms take turns, so that their curves grow side by side."""
    found: Dict[str, List[Optional[float]]] = {cell.arm: [] for cell in cells}
    for values in trials:
        for cell in cells:
            found[cell.arm].append(loss(cell, values))
    return found


def is_complete(losses: Dict[str, List[Optional[float]]]) -> bool:
    return all(one is not None for ones in losses.values() for one in ones)


def least(losses: Sequence[Optional[float]]) -> float:
    return min(one for one in losses if one is not None)


def lowest(trials: List[Values], losses: Sequence[Optional[float]]) -> Values:
    """The values of the lowest loss that is known, the first of equals."""
    known = [one for one in zip(losses, range(len(trials)), trials) if one[0] is not None]
    return min(known, key=lambda one: (one[0], one[1]))[2]


def grid(values: Dict[str, List[Value]]) -> List[Values]:
    """Every combination."""
    return [
        clean(dict(zip(values, combination))) for combination in itertools.product(*values.values())
    ]


def extended(
    values: Dict[str, List[Value]], chosen: List[Values], fits: Fits
) -> Dict[str, List[Value]]:
    """The grid, grown by one value at each edge that is best for some arm."""
    grown = {}
    for name, ones in values.items():
        if not has_edges(ones):
            grown[name] = ones
            continue
        numbers = sorted(one for one in ones if isinstance(one, (int, float)))
        best_ones = [one[name] for one in chosen]
        low, high = (
            [one for one in beyond(name, edge, inner) if edge in best_ones and fits({name: one})]
            for edge, inner in ((numbers[0], numbers[1]), (numbers[-1], numbers[-2]))
        )
        grown[name] = [*low, *numbers, *high]
    return grown


def beyond(name: str, edge: Value, inner: Value) -> Iterator[Value]:
    """The value that follows an edge of a grid, if there is one.

    It keeps the ratio of the last two or, of shares such as dropout and beside 0, their difference.
    """
    last, before = float(edge), float(inner)
    by_difference = is_share(name) or min(last, before) <= 0
    value = rounded(2 * last - before if by_difference else last**2 / before, edge)
    floor = 0.0 if by_difference else 1e-12  # 0 would be another thing: no clipping, no update
    if floor <= float(value) < (1 if is_share(name) else math.inf) and value != edge:
        yield value


def rounded(value: float, like: Value) -> Value:
    return round(value) if isinstance(like, int) else float(f"{value:.{DIGITS}g}")


def within(value: float, one: Range) -> Value:
    """The value with few digits, or a whole one, which may not lead out of its range."""
    return min(max(rounded(value, one.low if one.is_whole else value), one.low), one.high)


def placed(search: Search, point: Sequence[float]) -> Values:
    """A point of the unit cube in the ranges."""
    found: Values = {}
    for (name, one), share in zip(search.ranges.items(), point):
        if one.log:
            value = math.exp(math.log(one.low) + share * math.log(one.high / one.low))
        else:
            value = one.low + share * (one.high - one.low)
        found[name] = within(value, one)
    return found


def spread(search: Search) -> List[Values]:
    """Sobol's points, scrambled with a fixed seed: the same for every arm."""
    from scipy.stats import qmc

    draws = qmc.Sobol(len(search.ranges), scramble=True, rng=1)
    points = draws.random_base2(math.ceil(math.log2(search.trials)))[: search.trials]
    return [placed(search, point) for point in points]


def adaptive(search: Search, cell: Cell, loss: Loss, needs: Needs = "all arms") -> Optional[Values]:
    """Generations of Optuna's TPE; each is drawn from all finished ones, alike in every process."""
    import optuna
    from optuna.distributions import FloatDistribution, IntDistribution

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space: Dict[str, optuna.distributions.BaseDistribution] = {
        name: IntDistribution(int(one.low), int(one.high), log=one.log)
        if one.is_whole
        else FloatDistribution(one.low, one.high, log=one.log)
        for name, one in search.ranges.items()
    }
    done: List[Values] = []
    losses: List[Optional[float]] = []
    for generation in range(search.generations):
        seed = int(digest([cell.depth, cell.width, generation])[:8], 16)
        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=1)
        )
        for values, value in zip(done, losses):
            study.add_trial(
                optuna.trial.create_trial(params=dict(values), distributions=space, value=value)
            )
        drawn = [study.ask(space).params for _ in range(search.trials)]
        batch: List[Values] = [
            {name: within(one, search.ranges[name]) for name, one in values.items()}
            for values in drawn
        ]
        done += batch
        losses += [loss(cell, values) for values in batch]
        if any(one is None for one in losses):
            break
    is_known = [one is not None for one in losses]
    enough = any(is_known) if needs == "any trial" else all(is_known)
    return lowest(done, losses) if enough else None
