"""The compiled library, and calls of it with tensors.

It is built where pip installs the package with a C compiler (setup.py), and absent elsewhere:
everything then runs in torch. ``RESDUAL_NATIVE=0`` leaves it unused.
"""

import ctypes
import importlib.machinery
import logging
import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any, Iterator, Optional, Tuple

import torch
from torch import Tensor

from .sources import checksum

logger = logging.getLogger(__name__)

CSRC = Path(__file__).parent / "csrc"
NEWEST_ISA = 2
"""The newest instruction set that the library has kernels for (library.c)."""
MIN_ROWS_PER_THREAD = 16
OFF = ("0", "off", "false", "no")
"""What the user's RESDUAL_NATIVE may say to leave the library unused."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MEGABYTE = 2**20

CData = Any
"""What cffi gives: a structure, a pointer or a library."""


@cache
def interface() -> CData:
    """cffi with what resdual.h declares."""
    from cffi import FFI  # a training loads nothing that only generation needs

    ffi = FFI()
    header = (CSRC / "resdual.h").read_text(encoding="utf-8")
    ffi.cdef(re.sub(r"^#(?!define \w+ \d).*$", "", header, flags=re.MULTILINE))
    return ffi


@cache
def load() -> CData:
    """The library, or None where there is none of these sources."""
    library = next(filter(None, map(open_library, places())), None)
    if library is None:
        logger.info(
            "generation runs in torch: there is no compiled library of this version; for more "
            "speed, install resdual_fairseq with pip where there is a C compiler"
        )
        return None
    keep_freed_memory()
    library.resdual_set_isa(NEWEST_ISA)
    return library


def places() -> Iterator[Path]:
    """Where it may lie: here, or where the package is installed if this is its source folder."""
    here = Path(__file__).parent
    for folder in (here, *(Path(entry) / here.parent.name / here.name for entry in sys.path)):
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            if (folder / f"_library{suffix}").exists():
                yield folder / f"_library{suffix}"


def open_library(path: Path) -> CData:
    """The library there, or None if it is of other sources or cannot be loaded."""
    try:
        library = interface().dlopen(str(path))
        built_from = library.resdual_sources()
    except (OSError, AttributeError) as error:
        logger.warning(f"{path} cannot be loaded: {error}; install resdual_fairseq again with pip")
        return None
    return library if built_from == checksum(CSRC) else None


def keep_freed_memory() -> None:
    """Let glibc keep up to 256 MB that a step frees for the next, unless MALLOC_ variables say how.

    It hands large arrays back to the system, whose pages come anew at a price.
    """
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, 32 * MEGABYTE)
            mallopt(M_TRIM_THRESHOLD, 256 * MEGABYTE)


def loaded() -> CData:
    """The library, or None where there is none or it is not to be used."""
    return None if os.environ.get("RESDUAL_NATIVE") in OFF else load()


def pointer(tensor: Optional[Tensor]) -> CData:
    """The address of a tensor's numbers, or NULL. The caller keeps the tensor."""
    if tensor is None:
        return interface().NULL
    return interface().cast("void *", tensor.data_ptr())


def threads_for(rows: int) -> int:
    """How many of torch's threads share so many rows."""
    return max(1, min(torch.get_num_threads(), rows // MIN_ROWS_PER_THREAD))


def workspace(size: int, threads: int) -> Tensor:
    """Scratch for calls of so many threads, each with at least ``size`` bytes."""
    return torch.empty(threads, -(-size // 64) * 64, dtype=torch.uint8)


def decode(stack: CData, search: CData, x: Tensor, d: Optional[Tensor]) -> None:
    """One token through a decoder's stack: x, rows x C, becomes its output; d is lost."""
    lib = load()
    threads = threads_for(search.rows)
    rows, longest = -(-search.rows // threads), max(search.steps, search.memory_length)
    work = workspace(lib.resdual_scratch(stack, rows, longest), threads)
    lib.resdual_decode(
        stack, search, pointer(x), pointer(d), pointer(work), work.size(1), threads
    )  # fmt: skip


def encode(stack: CData, padding: Optional[Tensor], x: Tensor, d: Optional[Tensor]) -> None:
    """A batch through an encoder's layers: x and d, B x T x C, are changed in place.

    ``padding`` is B x T, True where attention is kept from, or None.
    """
    lib = load()
    sentences, length, _ = x.shape
    source = interface().new("struct source *", (pointer(padding), sentences, length))
    threads = max(1, min(sentences, threads_for(sentences * length)))
    rows = -(-sentences // threads) * length
    work = workspace(lib.resdual_scratch(stack, rows, length), threads)
    lib.resdual_encode(
        stack, source, pointer(x), pointer(d), pointer(work), work.size(1), threads
    )  # fmt: skip


def linear(projection: CData, x: Tensor, out: Tensor) -> Tensor:
    """The product of a projection with x, rows x inputs, in ``out``, rows x outputs."""
    lib = load()
    assert x.is_contiguous() and x.dtype == torch.float32 and x.size(1) == projection.inputs
    rows = x.size(0)
    threads = threads_for(rows)
    work = workspace(lib.resdual_linear_scratch(projection), threads)
    lib.resdual_linear(
        projection, pointer(x), rows, pointer(out), pointer(work), work.size(1), threads
    )  # fmt: skip
    return out


def embed(
    table: Tensor, scale: float, position: Optional[Tensor], tokens: Tensor, padding: int
) -> Tuple[Tensor, int]:
    """``scale`` times the rows of a table that tokens name, plus a position's embedding.

    Args:
        table: V x C, float32, contiguous.
        scale: rounded to float32, as torch does it.
        position: C, float32, or None.
        tokens: rows, int64, as far apart as they are.
        padding: a token to be counted.

    Returns:
        rows x C; how many tokens are padding, or -1, with nothing of use, where one is not in the
        table.
    """
    out = table.new_empty(tokens.size(0), table.size(1))
    found = load().resdual_embed(
        pointer(table), *table.shape, scale, pointer(position),
        pointer(tokens), tokens.stride(0), tokens.size(0), padding, pointer(out),
    )  # fmt: skip
    return out, int(found)
