"""What all tests share: one thread, instruction sets, a softmax without rounding to float32."""

import sys
from contextlib import ExitStack
from typing import Any, Iterator, List

import pytest
import torch
import torch.nn.functional as F
from fairseq import utils
from helpers.isas import ISAS, computing_as
from hypothesis import HealthCheck, settings
from torch import Tensor

from resdual_fairseq.generation.native_steps import NativeDecodingState
from resdual_fairseq.generation.torch_steps import TorchDecodingState

torch.set_num_threads(1)
# A machine that is held for a moment fails no test, and each run tries the same examples.
settings.register_profile(
    "tests",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tests")
# The study's packages are for Python 3.11 and newer.
collect_ignore_glob = [] if sys.version_info >= (3, 11) else ["**/test_study*.py"]

LONGEST_FIRST = (
    *("test_pages", "test_study", "test_study_costs", "test_study_failures", "test_study_workers"),
    *("test_diagnose", "test_language_modeling", "test_recipes", "test_checkpoints"),
    *("test_scripts", "test_gradient_log_commands", "test_options", "test_export"),
)


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """Begin with the longest files, so that no process is left with one of them at the end."""

    def place(item: pytest.Item) -> int:
        name = item.path.stem
        return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=place)


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set in turn, with which the compiled library computes."""
    with computing_as(request.param):
        yield request.param


@pytest.fixture
def exact_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep float64 where fairseq's attention takes its softmax in float32."""

    def softmax(x: Tensor, dim: int, onnx_trace: bool = False) -> Tensor:
        return F.softmax(x, dim=dim)

    monkeypatch.setattr(utils, "softmax", softmax)


@pytest.fixture(params=["torch", *ISAS])
def taken(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[List[int]]:
    """How many rows each fast step had: in torch, and in the library by each instruction set."""
    rows: List[int] = []
    kind: Any = NativeDecodingState
    with ExitStack() as stack:
        if request.param == "torch":
            monkeypatch.setenv("RESDUAL_NATIVE", "0")
            kind = TorchDecodingState
        else:
            stack.enter_context(computing_as(request.param))
        count_rows(kind, rows, monkeypatch)
        yield rows


def count_rows(kind: Any, rows: List[int], monkeypatch: pytest.MonkeyPatch) -> None:
    step = kind.step

    def counted(self: Any, x: Tensor, *arguments: Any) -> Any:
        rows.append(x.size(1))
        return step(self, x, *arguments)

    monkeypatch.setattr(kind, "step", counted)
