"""Generation on the CPU by a small compiled library, where it was built and where it applies."""

from .embeddings import embedded
from .library import loaded
from .packing import forget, look_again
from .steps import NativeSteps, encoded, log_probabilities, note_search, projected, steps

__all__ = [
    "NativeSteps",
    "embedded",
    "encoded",
    "forget",
    "loaded",
    "log_probabilities",
    "look_again",
    "note_search",
    "projected",
    "steps",
]
