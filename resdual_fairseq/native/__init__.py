"""Generation on the CPU by a small compiled library, where it was built and where it applies."""

from ..generation.embeddings import embedded
from ..generation.native_steps import (
    NativeSteps,
    encoded,
    log_probabilities,
    note_search,
    projected,
    steps,
)
from ..generation.packing import forget, look_again
from .library import loaded

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
