"""Log-probabilities of a decoding step in which a search finds its candidates quickly.

fairseq's search tests them for NaN, sets what is forbidden to -inf, adds the scores of the
hypotheses, and takes the greatest. Each is a pass over rows x vocabulary, and some of torch's take
many times as long as reading that memory does: in narrow models a quarter of a batch's time.
"""

import copy
from typing import Any, Callable, Dict, Optional, Tuple

import torch
from torch import Tensor

from ..native import library


class LogProbabilities(Tensor):
    """A tensor like any other, of which two operations of torch are done with less work.

    These are ``torch.topk`` and the pair ``x[x != x] = value``, as fairseq's search calls them.
    What it does in between returns such a tensor again (HANDLED); every other operation is
    torch's own and returns an ordinary tensor. Values, shapes, views and changes in place are
    those of the ordinary tensor, and of equal candidates the same are taken, in the same order.

    One thing is lost: NaN that is written behind autograd's back (through ``.data``, numpy, the
    storage or DLPack, which make no new version) is not found by ``x != x``.
    """

    whole_at: Optional[int] = None
    """The version in which it is known to have no NaN."""

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: Tuple[Any, ...] = (),
        kwargs: Optional[Dict[str, Any]] = None,
    ) -> Any:
        kwargs = kwargs or {}
        handle = HANDLED.get(func)
        if handle is None or not (args and isinstance(args[0], cls)):
            return torch._C._disabled_torch_function_impl(func, types, args, kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            result = handle(*args, **kwargs)
            return func(*args, **kwargs) if result is NotImplemented else result

    def __reduce_ex__(self, protocol: Any) -> Any:
        """What is saved or sent elsewhere is an ordinary tensor."""
        return self.as_subclass(Tensor).__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Dict[int, Any]) -> Tensor:
        return copy.deepcopy(self.as_subclass(Tensor), memo)


def kept(function: Callable[..., Tensor]) -> Callable[..., LogProbabilities]:
    """The function, whose result stays what x is."""

    def of(x: LogProbabilities, *args: Any, **kwargs: Any) -> LogProbabilities:
        result: Any = function(x, *args, **kwargs).as_subclass(LogProbabilities)
        return result

    return of


def item(x: LogProbabilities, index: Any) -> LogProbabilities:
    """Some of the numbers of x, as a view or copied: without NaN if x has none."""
    result: Any = Tensor.__getitem__(x, index).as_subclass(LogProbabilities)
    if is_whole(x) and not result.is_inference():
        result.whole_at = result._version
    return result


def is_whole(x: LogProbabilities) -> bool:
    """Whether x is known to have no NaN."""
    return x.whole_at is not None and x.whole_at == x._version


def unequal(x: LogProbabilities, other: Any) -> Any:
    """Where x is not the other: nowhere if it is itself and has no NaN."""
    known = x is other and is_whole(x) and not torch.jit.is_tracing()
    return torch.zeros(x.shape, dtype=torch.bool) if known else NotImplemented


def put(x: LogProbabilities, index: Any, value: Any) -> Any:
    """Put one number where a mask says so, if it does anywhere."""
    if not isinstance(index, Tensor) or index.dtype != torch.bool or index.shape != x.shape:
        return NotImplemented
    if index.device.type != "cpu" or torch.jit.is_tracing():
        return NotImplemented
    if not isinstance(value, (int, float)) and not (isinstance(value, Tensor) and not value.dim()):
        return NotImplemented
    return NotImplemented if index.numpy().any() else None


def top(x: LogProbabilities, k: int, dim: int = -1, *more: Any, **named: Any) -> Any:
    """The greatest k of each row, where x is a matrix in one piece and no more is asked."""
    if more or named or torch.is_grad_enabled() or not x.is_contiguous():
        return NotImplemented
    if torch.jit.is_tracing():
        return NotImplemented
    if (
        x.dtype != torch.float32
        or x.dim() != 2
        or dim not in (-1, 1)
        or not 0 < library.PARTIAL * k <= x.size(1)
    ):
        return NotImplemented
    found = library.greatest(x, k)
    return NotImplemented if found is None else torch.return_types.topk(found)


HANDLED: Dict[Any, Callable[..., Any]] = {
    Tensor.__getitem__: item,
    Tensor.view: kept(Tensor.view),
    Tensor.contiguous: kept(Tensor.contiguous),
    Tensor.detach: kept(Tensor.detach),
    Tensor.add: kept(Tensor.add),
    Tensor.ne: unequal,
    Tensor.__setitem__: put,
    torch.topk: top,
}


def log_probabilities(logits: Tensor) -> Tensor:
    """Those of float32 logits, rows x V.

    Returns:
        rows x V; ``LogProbabilities`` except in inference mode, where torch keeps no versions.
    """
    found, whole = library.log_softmax(logits)
    if found.is_inference():
        return found
    marked: Any = found.as_subclass(LogProbabilities)
    marked.whole_at = marked._version if whole else None
    return marked
