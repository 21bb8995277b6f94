"""The compiled library with other instruction sets than this processor's newest."""

from contextlib import contextmanager
from typing import Iterator

import pytest

from resdual_fairseq.native import library

ISAS = ("generic", "avx2", "avx512")
"""What library.c numbers from 0 on."""


@contextmanager
def computing_as(isa: str) -> Iterator[None]:
    """Use the kernels of an instruction set; skips where this processor lacks it."""
    lib = library.loaded()
    if lib is None:
        pytest.skip("the library was not compiled: no C compiler where this was installed")
    assert len(ISAS) == library.NEWEST_ISA + 1
    try:
        if ISAS[lib.resdual_set_isa(ISAS.index(isa))] != isa:
            pytest.skip(f"this processor has no {isa}")
        yield
    finally:
        lib.resdual_set_isa(library.NEWEST_ISA)
