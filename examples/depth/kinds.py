"""What the trainings of this folder compare: every scheme, in every form, and the learned alpha."""

from __future__ import annotations

from resdual_fairseq.schemes import RESIDUALS

LEARNED = "learned"
"""ResiDual with a learned alpha."""
FORMS = [f"{kind}:{form}" for kind, scheme in RESIDUALS.items() for form in scheme.variants[1:]]
KINDS = [*RESIDUALS, LEARNED, *FORMS]


def options_of(kind: str) -> dict[str, str]:
    """The model's options, by their names in Python."""
    if kind == LEARNED:
        return {"residual": "resdual", "residual_alpha": "learned"}
    residual, _, form = kind.partition(":")
    return {"residual": residual, **({"residual_variant": form} if form else {})}


def name_of(kind: str) -> str:
    if kind == LEARNED:
        return "ResiDual, learned alpha"
    residual, _, form = kind.partition(":")
    return RESIDUALS[residual].title + (f", {form}" if form else "")


NAMES = {kind: name_of(kind) for kind in KINDS}
