"""The study: does ResiDual pay on a team's own data? The command is ``resdual-study``."""

from ..compat import require

require(
    "study", "filelock", "jinja2", "matplotlib", "optuna", "psutil", "pydantic", "rich", "scipy",
    "submitit", "yaml",
)  # fmt: skip
