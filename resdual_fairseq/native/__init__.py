"""Generation on the CPU by a small compiled library, where it was built and where it applies."""

from .library import loaded
from .steps import NativeSteps, encoded, projected, steps

__all__ = ["NativeSteps", "encoded", "loaded", "projected", "steps"]
