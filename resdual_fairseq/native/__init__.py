"""Generation on the CPU by a small compiled library, where it was built and where it applies."""

from .library import loaded
from .rules import forget, look_again
from .steps import NativeSteps, encoded, projected, steps

__all__ = ["NativeSteps", "encoded", "forget", "loaded", "look_again", "projected", "steps"]
