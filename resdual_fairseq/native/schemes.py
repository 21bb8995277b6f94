"""How the compiled library adds outputs and ends a stack, for the schemes that it knows.

Of each scheme this states the form in which the kernels repeat its equation. A scheme is known by
its exact class, since a subclass may have another equation.
"""

from dataclasses import dataclass
from typing import Any, Callable, Dict, Optional, Union

from torch import Tensor, nn

from ..residual import PostLN, PreLN, ResiDual, Residual
from ..schemes import (
    B2T,
    Admin,
    DeepNorm,
    DSInit,
    Keel,
    LayerScale,
    LNScale,
    MixLN,
    ReZero,
    SandwichLN,
    SiameseNorm,
    TFixup,
)

Gain = Union[float, Tensor]
"""One number, or one for each channel."""


@dataclass(frozen=True)
class ConnectionSpec:
    """Around a block; norms that are None are not there.

    It computes on z = input_norm(x), or input_norm(x + dual_norm(d)). With its output f,
    x becomes sum_norm(skip x + gain output_norm(f)), with d added before the norm where
    ``adds_dual``; d becomes d + dual_scale f, and then x where ``sets_dual``.

    Attributes:
        input_factor: times the result of ``input_norm``.
    """

    input_norm: Optional[nn.LayerNorm] = None
    input_factor: float = 1.0
    dual_norm: Optional[nn.LayerNorm] = None
    output_norm: Optional[nn.LayerNorm] = None
    sum_norm: Optional[nn.LayerNorm] = None
    skip: Gain = 1.0
    gain: Gain = 1.0
    dual_scale: float = 0.0
    adds_dual: bool = False
    sets_dual: bool = False


@dataclass(frozen=True)
class ClosingSpec:
    """Around the stack: y is x, norm(x), or where there is an alpha, alpha x + norm(d).

    ``last_norm`` follows where it is there.
    """

    norm: Optional[nn.LayerNorm] = None
    alpha: Optional[Gain] = None
    last_norm: Optional[nn.LayerNorm] = None


def siamese_connection(c: Any) -> ConnectionSpec:
    norms = {"input_norm": c.input_norm, "dual_norm": c.dual_norm, "sum_norm": c}
    return ConnectionSpec(**norms, gain=c.output_gain, dual_scale=1.0)


def keel_connection(c: Any) -> ConnectionSpec:
    sum_norm = None if c.is_first else c
    return ConnectionSpec(input_norm=c.input_norm, sum_norm=sum_norm, skip=c.alpha)


def admin_skip(c: Any) -> Gain:
    return c.fixed_omega if c.omega is None else c.omega


CONNECTIONS: Dict[type, Callable[[Any], ConnectionSpec]] = {
    PostLN: lambda c: ConnectionSpec(sum_norm=c),
    PreLN: lambda c: ConnectionSpec(input_norm=c),
    ResiDual: lambda c: ConnectionSpec(sum_norm=c, dual_scale=c.s),
    DSInit: lambda c: ConnectionSpec(sum_norm=c),
    DeepNorm: lambda c: ConnectionSpec(sum_norm=c, skip=c.alpha),
    Admin: lambda c: ConnectionSpec(sum_norm=c, skip=admin_skip(c)),
    Keel: keel_connection,
    B2T: lambda c: ConnectionSpec(sum_norm=c, adds_dual=c.ends_layer, sets_dual=c.ends_layer),
    MixLN: lambda c: ConnectionSpec(**{"input_norm" if c.is_pre else "sum_norm": c}),
    SandwichLN: lambda c: ConnectionSpec(input_norm=c, output_norm=c.output_norm),
    LayerScale: lambda c: ConnectionSpec(input_norm=c, gain=c.gamma),
    LNScale: lambda c: ConnectionSpec(input_norm=c, input_factor=c.factor),
    ReZero: lambda c: ConnectionSpec(gain=c.a),
    TFixup: lambda c: ConnectionSpec(),
    SiameseNorm: siamese_connection,
}

CLOSINGS: Dict[type, Callable[[Any], ClosingSpec]] = {
    **{
        kind: lambda c: ClosingSpec()
        for kind in (PostLN, DSInit, DeepNorm, Admin, Keel, B2T, ReZero, TFixup)
    },
    **{kind: lambda c: ClosingSpec(norm=c) for kind in (MixLN, SandwichLN, LayerScale, LNScale)},
    PreLN: lambda c: ClosingSpec(norm=c if c.final_norm else None),
    ResiDual: lambda c: ClosingSpec(
        norm=c, alpha=c.alpha if c.learned_alpha is None else c.learned_alpha
    ),
    SiameseNorm: lambda c: ClosingSpec(c.dual_norm, 1.0, None if c.is_bare else c),
}


def connection_spec(connection: Residual) -> Optional[ConnectionSpec]:
    """The form of a connection around a block; None where the library has none for its scheme."""
    form = CONNECTIONS.get(type(connection))
    return None if form is None else form(connection)


def closing_spec(around_stack: Residual) -> Optional[ClosingSpec]:
    """The same of the connection around a stack."""
    form = CLOSINGS.get(type(around_stack))
    return None if form is None else form(around_stack)
