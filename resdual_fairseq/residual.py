"""The paper's equations: how a block's output is added to the residual streams.

A stack of N blocks f_1 .. f_N (self-attention, cross-attention and feed-forward count one each;
dropout belongs to f) has N + 1 residual connections: one around each block, and one around the
stack, which makes the streams before the first block and the output after the last. Each owns the
layer norm at its place: ``self(z)`` is LN_k(z) around block k and LN_out(z) around the stack.

=========  ======================================  ======================================
kind       around block k                          around the stack
=========  ======================================  ======================================
resdual    x_{k+1} = LN_k(x_k + f_k(x_k))          d_1 = s x_1
           d_{k+1} = d_k + s f_k(x_k)              y = alpha x_{N+1} + LN_out(d_{N+1})
post       x_{k+1} = LN_k(x_k + f_k(x_k))          y = x_{N+1}
pre        x_{k+1} = x_k + f_k(LN_k(x_k))          y = LN_out(x_{N+1})
=========  ======================================  ======================================

resdual is section 3 of Xie et al. 2023 (arXiv 2304.14802); post and pre are its baselines. Rivals
stand in schemes/, one file each. No other Python file knows these equations; the compiled kernels
repeat them, and tests compare the two.

The streams have the precision of the blocks. With :attr:`ResidualOptions.fp32` the one that is a
sum of block outputs (d of resdual, x of pre) is kept in float32, and blocks read it rounded.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, add, nn
from torch.nn.functional import layer_norm

LN_EPS = 1e-5

Streams = Tuple[Tensor, Optional[Tensor]]
"""x (T x B x C), and d where a scheme has more: T x B x C, or T x B x streams x C."""


@dataclass(frozen=True)
class ResidualOptions:
    """What a user chooses about the residual connections of a model.

    Attributes:
        kind: a key of :data:`schemes.RESIDUALS`.
        variant: one of the scheme's :attr:`Residual.variants`; None is the first of them.
        scale: s of the dual stream, above 0, or ``"auto"`` (:func:`auto_scale`).
        alpha: weight of the Post-LN stream in the output, 0 or more; or a learned one of the
            dual stream: ``"learned"``, a number for each channel, or ``"learned-scalar"``.
        gain: what a learned weight starts from; None is the scheme's own.
        streams: n of hyper-connections.
        post_fraction: the share of a stack's layers that are Post-LN in Mix-LN.
        final_norm: whether a Pre-LN stack ends in LN_out.
        fp32: keep the stream that sums block outputs in float32 where blocks are narrower.
    """

    kind: str = "resdual"
    variant: Optional[str] = None
    scale: Union[float, str] = "auto"
    alpha: Union[float, str] = 1.0
    gain: Optional[float] = None
    streams: int = 4
    post_fraction: float = 0.25
    final_norm: bool = True
    fp32: bool = False


@dataclass(frozen=True)
class Place:
    """Where a residual connection stands.

    Attributes:
        k: 1 .. N around a block, N + 1 around the stack.
        blocks: N, the number of blocks in the stack.
        layer: l, 1 .. L around a block, L + 1 around the stack.
        layers: L, the number of layers in the stack.
        part: ``self_attn``, ``cross_attn`` or ``ffn``, the kind of block; ``stack`` around it.
        stack: ``encoder`` or ``decoder``.
        other_layers: the number of layers of the stack that this one is a pair with; 0 if alone.
    """

    k: int
    blocks: int
    layer: int
    layers: int
    part: str
    stack: str = "decoder"
    other_layers: int = 0

    @property
    def around_stack(self) -> bool:
        return self.part == "stack"

    @property
    def ends_layer(self) -> bool:
        return self.part == "ffn"


def auto_scale(blocks: int) -> float:
    """The largest power of two s with s * (blocks + 1) <= 1.

    d is s times a sum of at most ``blocks + 1`` terms, hence never larger than the largest of them:
    where no block overflows a 16-bit format, d does not either. A power of two changes no digit of
    the mantissa.
    """
    return 2.0 ** -math.ceil(math.log2(blocks + 1))


class Norm(nn.LayerNorm):
    """Layer norm that takes a stream wider than its weights.

    Args:
        embed_dim: C.
        wide: whether there may be such a stream.
        affine: whether it has weights.
    """

    def __init__(self, embed_dim: int, wide: bool = False, affine: bool = True) -> None:
        super().__init__(embed_dim, eps=LN_EPS, elementwise_affine=affine)
        self.fp32 = wide

    def forward(self, z: Tensor) -> Tensor:
        """LN(z), in the precision of a z that is wider than the weights."""
        if self.weight is not None and self.fp32:
            wide = torch.promote_types(z.dtype, self.weight.dtype)
            weight, bias = self.weight.to(wide), self.bias.to(wide)
            return layer_norm(z, self.normalized_shape, weight, bias, self.eps)
        return layer_norm(z, self.normalized_shape, self.weight, self.bias, self.eps)


class Residual(Norm):
    """One residual connection with its layer norm. A scheme is a subclass.

    A scheme may own parameters and more norms. Streams are values that go in and come out, never
    kept here.

    Args:
        options: the user's choice.
        embed_dim: C.
        place: where it stands.
    """

    title: ClassVar[str] = ""
    """The scheme's name in figures and tables."""
    norms_blocks_input: ClassVar[bool] = False
    """True where fairseq would call the stack ``normalize_before``."""
    has_closing_norm: ClassVar[bool] = False
    """True where the stack ends in LN_out, which then owns weights."""
    has_norms: ClassVar[bool] = True
    """False where a scheme has no norm around its blocks."""
    has_sum: ClassVar[bool] = False
    """True where a stream is a sum of block outputs, with no norm on its way."""
    can_drop_layers: ClassVar[bool] = True
    """False where a layer cannot be left out in training (LayerDrop)."""
    can_be_pruned: ClassVar[bool] = True
    """False where a constant depends on the number of layers, so that with fewer it is another."""
    can_scale_stream: ClassVar[bool] = True
    """False where an output is not added to x, which ``--scale-resids`` weights."""
    variants: ClassVar[Tuple[str, ...]] = ()
    """Forms of the scheme, for ``--residual-variant``; the first is the default."""
    reads: ClassVar[Tuple[str, ...]] = ()
    """Which of ``scale``, ``alpha``, ``gain``, ``streams``, ``post_fraction`` it reads."""

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        closes = self.has_closing_norm and options.final_norm
        affine = closes if place.around_stack else self.has_norms
        super().__init__(embed_dim, options.fp32, affine)
        self.k = place.k
        self.blocks = place.blocks
        self.variant = options.variant or (self.variants[0] if self.variants else "")

    def initialize(self, weights: Sequence[nn.Linear]) -> None:
        """Set initial weights of block k; fairseq's are kept here.

        Args:
            weights: its projections: queries, keys, values and output, or fc1 and fc2.
        """

    def initialize_embeddings(self, table: nn.Embedding) -> None:
        """Set initial embeddings, called around the stack; fairseq's are kept here."""

    def widen(self, z: Tensor) -> Tensor:
        """What a stream starts from, in the precision that it is kept in."""
        return z.to(torch.promote_types(z.dtype, torch.float32)) if self.fp32 else z

    def init_streams(self, x: Tensor) -> Streams:
        """x_1 and d_1 from the embeddings x_1."""
        return x, None

    def block_input(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        """What block k computes on."""
        return x

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        """x_{k+1} and d_{k+1} from x_k, d_k and the output f of block k."""
        raise NotImplementedError(f"{type(self).__name__} does not say how an output is added")

    def stack_output(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        """The stack's output y from x_{N+1} and d_{N+1}."""
        return x


class PostLN(Residual):
    """x_{k+1} = LN_k(x_k + f_k(x_k)), y = x_{N+1} (Vaswani et al. 2017)."""

    title = "Post-LN"

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        return self(x + f), d


class SumOfOutputs(Residual):
    """x_{k+1} = x_k + f_k(x_k), y = x_{N+1}: the base of what keeps x as a sum."""

    has_sum = True

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        # Has the blocks' precision even where there is no norm whose weights would tell it.
        self.register_buffer("narrow", torch.empty(0), persistent=False)

    def init_streams(self, x: Tensor) -> Streams:
        return self.widen(x), None

    def block_input(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        return self.narrowed(x)

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        return x + f, d

    def stack_output(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        return self.narrowed(x)

    def narrowed(self, z: Tensor) -> Tensor:
        return z.to(self.narrow.dtype) if self.fp32 else z


class PreLN(SumOfOutputs):
    """x_{k+1} = x_k + f_k(LN_k(x_k)), y = LN_out(x_{N+1})."""

    title = "Pre-LN"
    norms_blocks_input = True
    has_closing_norm = True

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        self.final_norm = options.final_norm

    def block_input(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        return self.narrowed(self(x))

    def stack_output(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        return self.narrowed(self(x) if self.final_norm else x)


class ResiDual(Residual):
    """x_{k+1} = LN_k(x_k + f_k(x_k)), d_{k+1} = d_k + s f_k(x_k), y = alpha x + LN_out(d).

    s changes nothing but d's size: the eps of LN_out is :data:`LN_EPS` times s squared, so that
    LN_out(s d) equals what s = 1 gives, to the last digit where s is a power of two.

    A learned alpha, which is not in the paper, starts from ``gain`` (0).
    """

    title = "ResiDual"
    has_closing_norm = True
    has_sum = True
    reads = ("scale", "alpha", "gain")

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        self.s = auto_scale(place.blocks) if options.scale == "auto" else float(options.scale)
        if place.around_stack:
            self.eps = LN_EPS * self.s**2
        self.alpha, self.learned_alpha = 0.0, None
        if not str(options.alpha).startswith("learned"):
            self.alpha = float(options.alpha)
        elif place.around_stack:
            size = embed_dim if options.alpha == "learned" else 1
            self.learned_alpha = nn.Parameter(torch.full((size,), options.gain or 0.0))

    def init_streams(self, x: Tensor) -> Streams:
        return x, self.s * self.widen(x)

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        assert d is not None
        return self(x + f), add(d, f, alpha=self.s)

    def stack_output(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        assert d is not None
        if self.learned_alpha is not None:
            return (self(d) + self.learned_alpha * x).to(x.dtype)
        return add(self(d), x, alpha=self.alpha).to(x.dtype)
