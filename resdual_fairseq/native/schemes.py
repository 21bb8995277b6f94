"""How the compiled library adds outputs and ends a stack, for the schemes that it knows.

Of each scheme this states the form in which the kernels repeat residual.py.
"""

from dataclasses import dataclass
from typing import Optional

from ..residual import PostLN, PreLN, ResiDual, Residual


@dataclass(frozen=True)
class ConnectionSpec:
    """Around a block: it computes on LN(x) or x; then x + f, or LN of it, is the next x.

    Attributes:
        norms_input: whether the block computes on LN(x).
        norms_sum: whether the next x is LN(x + f).
        dual_scale: s of the next d, d + s f, or None where there is no d.
    """

    norms_input: bool = False
    norms_sum: bool = False
    dual_scale: Optional[float] = None


@dataclass(frozen=True)
class ClosingSpec:
    """Around the stack: y is x, LN_out(x), or, where there is an alpha, alpha x + LN_out(d)."""

    norms: bool = False
    alpha: Optional[float] = None


def connection_spec(connection: Residual) -> Optional[ConnectionSpec]:
    """The form of a connection around a block; None where the library has none for its scheme."""
    if type(connection) is PostLN:
        return ConnectionSpec(norms_sum=True)
    if type(connection) is PreLN:
        return ConnectionSpec(norms_input=True)
    if type(connection) is ResiDual:
        return ConnectionSpec(norms_sum=True, dual_scale=connection.s)
    return None


def closing_spec(around_stack: Residual) -> Optional[ClosingSpec]:
    """The same of the connection around a stack."""
    if type(around_stack) is PostLN:
        return ClosingSpec()
    if type(around_stack) is PreLN:
        return ClosingSpec(norms=around_stack.final_norm)
    if type(around_stack) is ResiDual:
        return ClosingSpec(norms=True, alpha=around_stack.alpha)
    return None
