"""What all tests share: one thread, kinds of processor, a softmax without rounding to float32."""

from typing import Iterator, List

import pytest
import torch
import torch.nn.functional as F
from fairseq import utils
from helpers.processors import PROCESSORS, computing_as
from torch import Tensor

torch.set_num_threads(1)

LONGEST_FIRST = ("test_pages", "test_translation", "test_checkpoints", "test_scripts")


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """Begin with the longest files, so that no process is left with one of them at the end."""

    def place(item: pytest.Item) -> int:
        name = item.path.stem
        return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=place)


@pytest.fixture(params=PROCESSORS)
def processor(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each kind of processor in turn, as which the compiled library computes."""
    with computing_as(request.param):
        yield request.param


@pytest.fixture
def exact_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep float64 where fairseq's attention takes its softmax in float32."""

    def softmax(x: Tensor, dim: int, onnx_trace: bool = False) -> Tensor:
        return F.softmax(x, dim=dim)

    monkeypatch.setattr(utils, "softmax", softmax)
