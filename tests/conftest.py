"""What all tests share: one thread, and a softmax without fairseq's rounding to float32."""

import pytest
import torch
import torch.nn.functional as F
from fairseq import utils
from torch import Tensor

torch.set_num_threads(1)


@pytest.fixture
def exact_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep float64 where fairseq's attention takes its softmax in float32."""

    def softmax(x: Tensor, dim: int, onnx_trace: bool = False) -> Tensor:
        return F.softmax(x, dim=dim)

    monkeypatch.setattr(utils, "softmax", softmax)
