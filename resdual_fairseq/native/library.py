"""The compiled library, and calls of it with tensors.

It is built where pip installs the package with a C compiler (setup.py), and absent elsewhere:
everything then runs in torch. ``RESDUAL_NATIVE=0`` leaves it unused.
"""

import ctypes
import importlib.machinery
import logging
import os
import sys
from ctypes import POINTER, byref, c_float, c_long, c_size_t, c_uint, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, Iterator, Optional, Tuple

import torch
from torch import Tensor

from .sources import checksum
from .structs import Linear, PackedStack, Search, Source, Stack

logger = logging.getLogger(__name__)

MOST = 2
"""The newest kind of processor that the library has products for (library.c)."""
FEW_ROWS = 16
"""Fewer rows than this are not worth a thread of their own."""
FEW_NUMBERS = 2**16
"""Nor are fewer numbers that are only compared."""
PARTIAL = 64
"""Of fewer numbers for each that is wanted, torch's topk makes no partial sort."""
OFF = ("0", "off", "false", "no")
"""What the user's RESDUAL_NATIVE may say to leave the library unused."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MEGABYTE = 2**20


@cache
def load() -> Optional[Any]:
    """The library with its functions' types, or None where there is none of these sources."""
    library = next(filter(None, map(opened, places())), None)
    if library is None:
        logger.info(
            "generation runs in torch: there is no compiled library of this version; for more "
            "speed, install resdual_fairseq with pip where there is a C compiler"
        )
        return None
    logger.info("generation on a CPU runs in a compiled library where it knows the model")
    keep_freed_memory()
    library.resdual_use(MOST)
    shared = (c_void_p, c_void_p, c_void_p, c_size_t, c_long)
    library.resdual_decode.argtypes = (POINTER(Stack), POINTER(Search), *shared)
    library.resdual_encode.argtypes = (POINTER(Stack), POINTER(Source), *shared)
    library.resdual_linear.argtypes = (POINTER(Linear), c_void_p, c_long, *shared[1:])
    library.resdual_linear_scratch.argtypes = (POINTER(Linear),)
    library.resdual_linear_scratch.restype = c_size_t
    library.resdual_scratch.argtypes = (POINTER(Stack), c_long, c_long)
    library.resdual_scratch.restype = c_size_t
    library.resdual_fingerprint.argtypes = (c_void_p, c_long, c_long)
    library.resdual_fingerprint.restype = c_uint64
    rows = (c_void_p, c_long, c_long)
    library.resdual_log_softmax.argtypes = (*rows, c_void_p, c_long)
    library.resdual_greatest.argtypes = (*rows, c_long, c_void_p, c_void_p, c_long)
    library.resdual_embed.argtypes = (
        *(c_void_p, c_long, c_long, c_float, c_void_p),
        *(c_void_p, c_long, c_long, c_long, c_void_p),
    )
    library.resdual_embed.restype = c_long
    for name in ("decode", "encode", "linear"):
        getattr(library, f"resdual_{name}").restype = None
    return library


def places() -> Iterator[Path]:
    """Where it may lie: here, or where the package is installed if this is its source folder."""
    here = Path(__file__).parent
    for folder in (here, *(Path(entry) / here.parent.name / here.name for entry in sys.path)):
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            if (folder / f"_library{suffix}").exists():
                yield folder / f"_library{suffix}"


def opened(path: Path) -> Optional[Any]:
    """The library there, or None if it is of other sources or cannot be loaded."""
    try:
        library = ctypes.CDLL(str(path))
        built_from = library.resdual_sources
    except (OSError, AttributeError) as error:
        logger.warning(f"{path} cannot be loaded: {error}; install resdual_fairseq again with pip")
        return None
    built_from.restype = c_uint
    return library if built_from() == checksum(Path(__file__).parent / "csrc") else None


def keep_freed_memory() -> None:
    """Let glibc keep up to 256 MB that a step frees for the next, unless MALLOC_ variables say how.

    It hands large arrays back to the system, and pages that come anew cost more than many a sum
    that is put there.
    """
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, 32 * MEGABYTE)
            mallopt(M_TRIM_THRESHOLD, 256 * MEGABYTE)


def loaded() -> Optional[Any]:
    """The library, or None where there is none or it is not to be used."""
    return None if os.environ.get("RESDUAL_NATIVE") in OFF else load()


def together() -> int:
    """How many inputs lie together where weights are codes, for the kind of processor in use."""
    lib = load()
    assert lib is not None
    return int(lib.resdual_together())


def threads_for(rows: int) -> int:
    """How many of torch's threads share so many rows."""
    return max(1, min(torch.get_num_threads(), rows // FEW_ROWS))


def room(size: int, threads: int) -> Tensor:
    """Scratch for calls of so many threads, each with at least ``size`` bytes."""
    return torch.empty(threads, -(-size // 64) * 64, dtype=torch.uint8)


def decode(packed: PackedStack, search: Search, x: Tensor, d: Optional[Tensor]) -> None:
    """One token through a decoder's stack: x, rows x C, becomes its output, and d is lost."""
    lib = load()
    assert lib is not None
    threads = threads_for(search.rows)
    rows, longest = -(-search.rows // threads), max(search.steps, search.memory_length)
    scratch = room(lib.resdual_scratch(byref(packed.structure), rows, longest), threads)
    lib.resdual_decode(
        byref(packed.structure), byref(search), x.data_ptr(), address(d),
        scratch.data_ptr(), scratch.size(1), threads,
    )  # fmt: skip


def encode(packed: PackedStack, source: Source, x: Tensor, d: Optional[Tensor]) -> None:
    """A batch through an encoder's stack; x and d, B x T x C, are changed in place."""
    lib = load()
    assert lib is not None
    threads = min(source.sentences, threads_for(source.sentences * source.length))
    rows = -(-source.sentences // threads) * source.length
    scratch = room(lib.resdual_scratch(byref(packed.structure), rows, source.length), threads)
    lib.resdual_encode(
        byref(packed.structure), byref(source), x.data_ptr(), address(d),
        scratch.data_ptr(), scratch.size(1), threads,
    )  # fmt: skip


def linear(structure: Linear, x: Tensor, out: Tensor) -> Tensor:
    """The product of a packed projection with x, rows x inputs, in ``out``, rows x outputs."""
    lib = load()
    assert lib is not None
    assert x.is_contiguous() and x.dtype == torch.float32 and x.size(1) == structure.inputs
    rows = x.size(0)
    threads = threads_for(rows)
    scratch = room(lib.resdual_linear_scratch(byref(structure)), threads)
    lib.resdual_linear(
        byref(structure), x.data_ptr(), rows, out.data_ptr(),
        scratch.data_ptr(), scratch.size(1), threads,
    )  # fmt: skip
    return out


def embed(
    table: Tensor, scale: float, position: Optional[Tensor], tokens: Tensor, padding: int
) -> Tuple[Tensor, int]:
    """``scale`` times the rows of a table that tokens name, plus a position's embedding.

    Args:
        table: V x C.
        scale: rounded to float32, as torch does it.
        position: C, or None.
        tokens: rows, int64, as far apart as they are.
        padding: a token to be counted.

    Returns:
        rows x C; how many tokens are padding, or -1, with nothing of use, where one is not in the
        table.
    """
    lib = load()
    assert lib is not None
    assert table.is_contiguous() and table.dtype == torch.float32 and tokens.dtype == torch.int64
    assert position is None or (position.is_contiguous() and position.dtype == torch.float32)
    assert position is None or position.shape == table.shape[1:]
    out = table.new_empty(tokens.size(0), table.size(1))
    found = lib.resdual_embed(
        table.data_ptr(), *table.shape, scale, address(position),
        tokens.data_ptr(), tokens.stride(0), tokens.size(0), padding, out.data_ptr(),
    )  # fmt: skip
    return out, int(found)


def log_softmax(x: Tensor) -> Tuple[Tensor, bool]:
    """The logarithm of the softmax of x, rows x columns, as torch's, and whether none is NaN."""
    lib = load()
    assert lib is not None
    assert x.is_contiguous() and x.dtype == torch.float32
    out = torch.empty_like(x)
    threads = threads_for(x.size(0))
    whole = lib.resdual_log_softmax(x.data_ptr(), *x.shape, out.data_ptr(), threads)
    return out, bool(whole)


def greatest(x: Tensor, few: int) -> Optional[Tuple[Tensor, Tensor]]:
    """The ``few`` greatest of each row of x, rows x columns, and their columns, as torch's topk.

    Which of equals they are is torch's choice too, of at least ``PARTIAL`` columns for each.

    Returns:
        rows x few from the greatest on, float32, and their columns, int64; None where NaN is met.
    """
    lib = load()
    assert lib is not None
    assert x.is_contiguous() and x.dtype == torch.float32 and 0 < few <= x.size(1)
    values = x.new_empty(x.size(0), few)
    columns = torch.empty(x.size(0), few, dtype=torch.int64)
    threads = max(1, min(torch.get_num_threads(), x.size(0), x.numel() // FEW_NUMBERS))
    whole = lib.resdual_greatest(
        x.data_ptr(), *x.shape, few, values.data_ptr(), columns.data_ptr(), threads
    )
    return (values, columns) if whole else None


def fingerprint(arrays: Tensor) -> int:
    """A checksum of numbers of 32 bits in these arrays.

    Args:
        arrays: arrays x 3, int64: address, how many numbers, and of how many one is taken.
    """
    lib = load()
    assert lib is not None
    threads = max(1, min(torch.get_num_threads(), len(arrays)))
    return int(lib.resdual_fingerprint(arrays.data_ptr(), len(arrays), threads))


def address(tensor: Optional[Tensor]) -> Optional[int]:
    return None if tensor is None else tensor.data_ptr()
