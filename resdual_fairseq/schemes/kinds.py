"""One name for each way to join blocks: a scheme, one of its forms, or the learned alpha.

Names are ``KIND``, as ``--residual`` takes it, ``KIND:VARIANT``, and ``learned`` for ResiDual with
a learned alpha.
"""

from typing import Dict, List

from . import RESIDUALS

LEARNED = "learned"


def kinds() -> List[str]:
    """All names: the schemes, also a user's own, the learned alpha, and the other forms."""
    forms = [f"{kind}:{form}" for kind, scheme in RESIDUALS.items() for form in scheme.variants[1:]]
    return [*RESIDUALS, LEARNED, *forms]


def options_of(kind: str) -> Dict[str, str]:
    """The model's options, by their names in Python."""
    if kind == LEARNED:
        return {"residual": "resdual", "residual_alpha": "learned"}
    residual, _, form = kind.partition(":")
    return {"residual": residual, **({"residual_variant": form} if form else {})}


def title_of(kind: str) -> str:
    """What tables and figures call it; a kind that is not known keeps its name."""
    if kind == LEARNED:
        return "ResiDual, learned alpha"
    residual, _, form = kind.partition(":")
    scheme = RESIDUALS.get(residual)
    return kind if scheme is None else scheme.title + (f", {form}" if form else "")
