"""The tuning runs as Optuna studies, for its dashboard."""

from __future__ import annotations

import warnings
from typing import Any, Dict, List, Tuple

import optuna
from sqlalchemy.exc import SQLAlchemyError

from ..errors import ResDualError
from .analysis.table import Findings, Run


def export_to_optuna(findings: Findings, storage: str) -> int:
    """Write one Optuna study for each arm and depth; returns how many trials.

    Args:
        storage: a database, such as ``sqlite:///study.db``.

    Raises:
        ResDualError: the storage cannot be opened, or holds these studies already.
    """
    groups: Dict[str, List[Run]] = {}
    for run in findings.runs:
        if run.role == "tuning" and run.outcome not in (None, "killed"):  # says nothing of values
            cell = run.cell
            name = f"{findings.spec.name}: {cell.arm} {cell.depth} x {cell.width}"
            groups.setdefault(name, []).append(run)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # names of metrics
    try:
        for name, runs in groups.items():
            study = optuna.create_study(storage=storage, study_name=name)
            study.set_metric_names(["validation loss, bits a token"])
            study.add_trials([trial_of(run, groups[name], findings) for run in runs])
    except optuna.exceptions.DuplicatedStudyError as error:
        raise ResDualError(f"{storage} holds this study already; name a new file") from error
    except (
        optuna.exceptions.StorageInternalError,
        SQLAlchemyError,
        ValueError,
        ImportError,
    ) as error:
        said: BaseException = error
        while said.__cause__ is not None:  # the innermost tells it without the SQL
            said = said.__cause__
        raise ResDualError(
            f"Optuna cannot write to {storage}: {said}; give sqlite:///FILE, where there is room"
        ) from error
    return sum(map(len, groups.values()))


def trial_of(run: Run, group: List[Run], findings: Findings) -> Any:
    """A finished trial; one that failed has the untrained model's loss."""
    space: Dict[str, Tuple[Any, ...]] = {
        name: tuple(dict.fromkeys(one.values[name] for one in group)) for name in run.values
    }
    worked = run.outcome == "completed" and run.valid_loss is not None
    return optuna.trial.create_trial(
        params=dict(run.values),
        distributions={
            name: optuna.distributions.CategoricalDistribution(values)
            for name, values in space.items()
        },
        value=run.valid_loss if worked else findings.untrained_loss,
        user_attrs={
            "seed": run.seed,
            "outcome": run.outcome,
            "task": run.task,
            "detail": run.detail,
        },
    )
