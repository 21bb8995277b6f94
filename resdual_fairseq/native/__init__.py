"""Generation on the CPU by a small compiled library, where it was built and where it applies."""

from .library import loaded
from .rules import forget
from .steps import NativeSteps, encoded, projected, steps

__all__ = ["NativeSteps", "encoded", "forget", "loaded", "projected", "steps"]
