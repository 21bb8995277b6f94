"""The paper's equations: how a block's output joins the residual streams.

A stack of N blocks f_1 .. f_N (self-attention, cross-attention and feed-forward count one each;
dropout belongs to f) is joined by N residual connections, one around each block, and by one more
around the whole stack, which opens the streams before the first block and closes them after the
last. Every connection owns the layer norm at its place: ``self(z)`` is LN_k(z) in the connection
around block k and LN_out(z) in the one around the stack.

=========  ======================================  ======================================
kind       around block k                          around the stack
=========  ======================================  ======================================
resdual    x_{k+1} = LN_k(x_k + f_k(x_k))          d_1 = s x_1
           d_{k+1} = d_k + s f_k(x_k)              y = alpha x_{N+1} + LN_out(d_{N+1})
post       x_{k+1} = LN_k(x_k + f_k(x_k))          y = x_{N+1}
pre        x_{k+1} = x_k + f_k(LN_k(x_k))          y = LN_out(x_{N+1})
=========  ======================================  ======================================

resdual is section 3 of Xie et al. 2023 (arXiv 2304.14802); post and pre are its baselines.
Nothing else in the package knows these equations.

The streams have the precision of the blocks. With :attr:`ResidualOptions.fp32` the one that is a
sum of block outputs (d of resdual, x of pre) is kept in float32, and what is read from it is
rounded to the blocks' precision.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Dict, Optional, Sequence, Tuple, Type, Union

import torch
from torch import Tensor, add, nn
from torch.nn.functional import layer_norm

LN_EPS = 1e-5
EQUATIONS = ("start", "read", "join", "close", "as_join", "as_close")
"""The methods of a scheme that say how a block joins and how a stack begins and ends."""


@dataclass(frozen=True)
class ResidualOptions:
    """What a user chooses about the residual connections of a model.

    Attributes:
        kind: a key of :data:`RESIDUALS`.
        scale: s of the dual stream, above 0, or ``"auto"`` (:func:`auto_scale`).
        alpha: weight of the Post-LN stream in the output, 0 or more.
        final_norm: whether a Pre-LN stack ends in LN_out (fairseq's ``no_decoder_final_norm``
            says no).
        fp32: keep the stream that sums block outputs in float32 where the blocks are narrower;
            for schemes that have one (:attr:`Residual.has_sum`).
    """

    kind: str = "resdual"
    scale: Union[float, str] = "auto"
    alpha: float = 1.0
    final_norm: bool = True
    fp32: bool = False


def auto_scale(blocks: int) -> float:
    """The largest power of two s with s * (blocks + 1) <= 1.

    d_{k+1} is s times a sum of at most ``blocks + 1`` terms (x_1 and the blocks' outputs), hence
    never larger than the largest of those terms: where no block overflows a 16-bit format, the
    dual stream does not either. How large the terms can become for any input follows from the
    weights: ``resdual-diagnose checkpoint`` states it. A power of two changes no digit of the
    mantissa.
    """
    return 2.0 ** -math.ceil(math.log2(blocks + 1))


@dataclass(frozen=True)
class Join:
    """How a scheme joins block k where that is no more than this.

    A block computes on LN_k(x) or on x; then x + f, or LN_k of it, is the next x, and d + s f,
    where there is a d, the next d. The compiled library (native/) takes schemes in this form.
    """

    norms_input: bool = False
    norms_sum: bool = False
    dual: Optional[float] = None
    """s, or None where there is no d."""


@dataclass(frozen=True)
class Close:
    """How a scheme closes the streams where that is no more than this, for the compiled library.

    y is x, LN_out(x), or, where there is an alpha, alpha x + LN_out(d).
    """

    norms: bool = False
    alpha: Optional[float] = None


class Residual(nn.LayerNorm):
    """One residual connection with its layer norm. A scheme is a subclass.

    A scheme may own parameters, and sets initial weights in :meth:`initialize`. Streams are values
    that go in and come out: x is T x B x C; d is whatever second stream the scheme keeps, or None.

    Args:
        options: the user's choice.
        embed_dim: C.
        blocks: N, the number of blocks in the stack.
        k: 1 .. N around a block, N + 1 around the stack.
    """

    norms_blocks_input: ClassVar[bool] = False
    """True where fairseq would call the stack ``normalize_before``."""
    has_closing_norm: ClassVar[bool] = False
    """True where the stack ends in LN_out, which then owns weights."""
    has_sum: ClassVar[bool] = False
    """True where a stream is a sum of block outputs, with no norm on its way."""

    def __init__(self, options: ResidualOptions, embed_dim: int, blocks: int, k: int) -> None:
        around_stack = k > blocks
        super().__init__(
            embed_dim,
            eps=self.closing_eps(options, blocks) if around_stack else LN_EPS,
            elementwise_affine=not around_stack or self.closes_with_norm(options),
        )
        self.k = k
        self.blocks = blocks
        self.fp32 = options.fp32

    @classmethod
    def closes_with_norm(cls, options: ResidualOptions) -> bool:
        """Whether the connection around the stack applies LN_out."""
        return cls.has_closing_norm

    @classmethod
    def closing_eps(cls, options: ResidualOptions, blocks: int) -> float:
        """The eps of LN_out."""
        return LN_EPS

    def initialize(self, weights: Sequence[nn.Module]) -> None:
        """Set initial weights of block k, given its projections; fairseq's are kept here."""

    def forward(self, z: Tensor) -> Tensor:
        """LN(z), in the precision of a z that is wider than the weights."""
        if self.weight is not None and self.fp32:
            wide = torch.promote_types(z.dtype, self.weight.dtype)
            weight, bias = self.weight.to(wide), self.bias.to(wide)
            return layer_norm(z, self.normalized_shape, weight, bias, self.eps)
        return layer_norm(z, self.normalized_shape, self.weight, self.bias, self.eps)

    def widen(self, z: Tensor) -> Tensor:
        """What a stream begins with, in the precision that it is kept in."""
        return z.to(torch.promote_types(z.dtype, torch.float32)) if self.fp32 else z

    def start(self, x: Tensor) -> Tuple[Tensor, Optional[Tensor]]:
        """Open the streams from the embeddings x_1."""
        return x, None

    def read(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        """What block k computes on."""
        return x

    def join(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Tuple[Tensor, Optional[Tensor]]:
        """Join the output f of block k to the streams."""
        raise NotImplementedError(f"{type(self).__name__} does not say how a block joins")

    def close(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        """The stack's output y."""
        return x

    @torch.jit.unused
    def as_join(self) -> Join:
        """:meth:`read` and :meth:`join` in the form of :class:`Join`."""
        raise NotImplementedError(f"{type(self).__name__} is not in this form")

    @torch.jit.unused
    def as_close(self) -> Close:
        """:meth:`close` in the form of :class:`Close`."""
        raise NotImplementedError(f"{type(self).__name__} is not in this form")


class PostLN(Residual):
    """x_{k+1} = LN_k(x_k + f_k(x_k)), y = x_{N+1} (Vaswani et al. 2017)."""

    def join(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Tuple[Tensor, Optional[Tensor]]:
        return self(x + f), d

    @torch.jit.unused
    def as_join(self) -> Join:
        return Join(norms_sum=True)

    @torch.jit.unused
    def as_close(self) -> Close:
        return Close()


class PreLN(Residual):
    """x_{k+1} = x_k + f_k(LN_k(x_k)), y = LN_out(x_{N+1})."""

    norms_blocks_input = True
    has_closing_norm = True
    has_sum = True

    def __init__(self, options: ResidualOptions, embed_dim: int, blocks: int, k: int) -> None:
        super().__init__(options, embed_dim, blocks, k)
        self.final_norm = options.final_norm
        # Has the blocks' precision even where there is no LN_out whose weights would tell it.
        self.register_buffer("narrow", torch.empty(0), persistent=False)

    @classmethod
    def closes_with_norm(cls, options: ResidualOptions) -> bool:
        return options.final_norm

    def start(self, x: Tensor) -> Tuple[Tensor, Optional[Tensor]]:
        return self.widen(x), None

    def read(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        return self.narrowed(self(x))

    def join(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Tuple[Tensor, Optional[Tensor]]:
        return x + f, d

    def close(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        return self.narrowed(self(x) if self.final_norm else x)

    def narrowed(self, z: Tensor) -> Tensor:
        return z.to(self.narrow.dtype) if self.fp32 else z

    @torch.jit.unused
    def as_join(self) -> Join:
        return Join(norms_input=True)

    @torch.jit.unused
    def as_close(self) -> Close:
        return Close(norms=self.final_norm)


class ResiDual(Residual):
    """Two streams: x_{k+1} = LN_k(x_k + f_k(x_k)) and d_{k+1} = d_k + s f_k(x_k).

    y = alpha x_{N+1} + LN_out(d_{N+1}).

    LN_out does not feel s: its eps is :data:`LN_EPS` times s squared, so that
    LN_out(s d) equals what s = 1 gives, to the last digit where s is a power of two.
    """

    has_closing_norm = True
    has_sum = True

    def __init__(self, options: ResidualOptions, embed_dim: int, blocks: int, k: int) -> None:
        super().__init__(options, embed_dim, blocks, k)
        self.s = self.dual_scale(options, blocks)
        self.alpha = float(options.alpha)

    @staticmethod
    def dual_scale(options: ResidualOptions, blocks: int) -> float:
        """s as a number."""
        return auto_scale(blocks) if options.scale == "auto" else float(options.scale)

    @classmethod
    def closing_eps(cls, options: ResidualOptions, blocks: int) -> float:
        return LN_EPS * cls.dual_scale(options, blocks) ** 2

    def start(self, x: Tensor) -> Tuple[Tensor, Optional[Tensor]]:
        return x, self.s * self.widen(x)

    def join(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Tuple[Tensor, Optional[Tensor]]:
        assert d is not None
        return self(x + f), add(d, f, alpha=self.s)

    def close(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        assert d is not None
        return add(self(d), x, alpha=self.alpha).to(x.dtype)

    @torch.jit.unused
    def as_join(self) -> Join:
        return Join(norms_sum=True, dual=self.s)

    @torch.jit.unused
    def as_close(self) -> Close:
        return Close(norms=True, alpha=self.alpha)


RESIDUALS: Dict[str, Type[Residual]] = {"resdual": ResiDual, "post": PostLN, "pre": PreLN}


def build_residual(options: ResidualOptions, embed_dim: int, blocks: int, k: int) -> Residual:
    """The connection around block k (1 .. blocks) or around the stack (blocks + 1)."""
    return RESIDUALS[options.kind](options, embed_dim, blocks, k)
