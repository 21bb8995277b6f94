"""A folder of measurements that grows model by model and survives an interruption."""

import json
from pathlib import Path
from typing import Any, Dict, List

from ..errors import ResDualError
from ..files import replacing
from .table import FILE, Row, read_table, write_table

STATE = "settings.json"


class Session:
    """What an output folder holds: the settings, and the rows of each model measured so far.

    Args:
        folder: made where it is missing.
        settings: what all measurements in one folder have in common.

    Raises:
        ResDualError: the folder holds measurements made with other settings.
    """

    def __init__(self, folder: Path, settings: Dict[str, Any]) -> None:
        self.folder = folder
        self.settings = settings
        self.measured: Dict[str, str] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResDualError(f"--out {folder} cannot be made: {error}") from error
        self.read_state()
        rows = read_table(folder / FILE)
        self.rows: List[Row] = [row for row in rows if row.model in self.measured]

    def read_state(self) -> None:
        path = self.folder / STATE
        if not path.is_file():
            return
        state = json.loads(path.read_text(encoding="utf-8"))
        before, self.measured = state["settings"], state["measured"]
        for name, value in self.settings.items():
            if before.get(name) != value:
                raise ResDualError(
                    f"{self.folder} holds measurements with {name} {before.get(name)}, and this "
                    f"command says {value}; give another --out, or the same settings to go on"
                )

    def has(self, model: str, fingerprint: str = "") -> bool:
        """Whether a model is measured already, and has not changed since."""
        return self.measured.get(model) == fingerprint

    def keep(self, model: str, rows: List[Row], fingerprint: str = "") -> None:
        """Write a model's rows, in place of any it had."""
        self.rows = [row for row in self.rows if row.model != model] + rows
        write_table(self.folder / FILE, self.rows)
        self.measured[model] = fingerprint
        state = {"settings": self.settings, "measured": self.measured}
        with replacing(self.folder / STATE) as unfinished:
            unfinished.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
