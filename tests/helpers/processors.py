"""The compiled library as it computes on processors of other kinds than this one."""

from contextlib import contextmanager
from typing import Iterator

import pytest

from resdual_fairseq import native
from resdual_fairseq.native import library

PROCESSORS = ("any", "fma", "vnni")
"""What library.c numbers from 0 on."""


@contextmanager
def computing_as(processor: str) -> Iterator[None]:
    """Use the products of a kind of processor; skips where this one lacks the instructions."""
    lib = native.loaded()
    if lib is None:
        pytest.skip("the library was not compiled: no C compiler where this was installed")
    assert len(PROCESSORS) == library.MOST + 1
    try:
        if PROCESSORS[lib.resdual_use(PROCESSORS.index(processor))] != processor:
            pytest.skip(f"this processor is none of {processor}'s")
        yield
    finally:
        lib.resdual_use(library.MOST)
