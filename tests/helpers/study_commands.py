"""Studies of real commands: the smallest spec, and what the command line says of it."""

from pathlib import Path
from typing import Any, Dict, Tuple

import yaml

from helpers.commands import run
from helpers.studies import SPEC, record, study_of
from resdual_fairseq.study.engine.tasks import StudyFolder
from resdual_fairseq.study.planning import todo
from resdual_fairseq.study.spec.keys import Spec

PROGRAM = "resdual-study"
SMALL: Dict[str, Any] = {
    **SPEC,
    "depths": [1],
    "training": "--share-all-embeddings --dropout 0 --optimizer adam --max-tokens 1000",
    # Without a trunk: each run is one command.
    "budgets": {"unit": "updates", "values": [60], "cooldown": 0.999},
    "search": {"values": {"lr": [0.002]}},
    "seeds": [101],
    "decoding": {"options": "--beam 1"},
    "criteria": {"candidate": "resdual", "baseline": "pre", "depth": 1},
    "save_interval": 15,
    "keep_checkpoints": True,
}


def study(*words: object) -> str:
    output = run(PROGRAM, *words)
    assert "Traceback" not in output
    return output


def refused(*words: object) -> str:
    """The sentence that the command ends with, which is the last and only one of its kind."""
    output = run(PROGRAM, *words, fails=True)
    assert not any(line.startswith("Traceback") for line in output.splitlines())
    last = output.strip().splitlines()[-1]
    assert last.startswith("resdual-study: error: ") and output.count(": error: ") == 1
    return last


OWN_ARCHITECTURE = """\
from fairseq.models import register_model_architecture
from fairseq.models.transformer import base_architecture

register_model_architecture("transformer", "own_architecture")(base_architecture)
"""


def write_spec(path: Path, data_bin: Path, **changes: Any) -> Path:
    """A spec, of which one arm has a --user-dir that knows nothing of this package."""
    own = path.parent / "own folder"
    own.mkdir(exist_ok=True)
    (own / "__init__.py").write_text(OWN_ARCHITECTURE)
    arms = {**SPEC["arms"], "resdual": {"options": "--arch own_architecture", "user_dir": str(own)}}
    data = {"data_bin": str(data_bin), "source_lang": "src", "target_lang": "tgt"}
    path.write_text(yaml.safe_dump({**SMALL, "arms": arms, "data": data, **changes}))
    return path


def calibrated(path: Path) -> Tuple[Spec, StudyFolder]:
    """The study of a spec, with calibrations that are made up."""
    spec, folder = study_of(path)
    for task in todo.make_plan(spec, {}).tasks.values():
        folder.write(record(task, {"updates_per_epoch": 28, "symbols": 16}))
    return spec, folder
