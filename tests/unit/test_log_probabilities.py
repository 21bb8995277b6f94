"""Protects the log-probabilities of a step: an ordinary tensor's answers, whatever is asked."""

import copy
import io
import pickle
from typing import Any, Callable, Dict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from resdual_fairseq import native
from resdual_fairseq.generation.log_probabilities import LogProbabilities, log_probabilities
from resdual_fairseq.native import library

pytestmark = [
    pytest.mark.skipif(native.loaded() is None, reason="the library was not compiled here"),
]
INFINITY, NAN = float("inf"), float("nan")


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    with torch.no_grad():
        yield


def some(rows: int = 6, columns: int = 300) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(rows, columns)


@pytest.mark.parametrize("rows,columns,few", [(1, 64, 1), (3, 200, 3), (40, 4001, 10), (2, 999, 6)])
def test_the_greatest(processor: str, rows: int, columns: int, few: int) -> None:
    """Torch's values and columns, in any order of the numbers, and among -inf."""
    x = some(rows, columns)
    for numbers in (x, x.sort(dim=1).values, x.sort(dim=1, descending=True).values):
        for forbidden in (0, columns // 2, columns - few, columns):
            numbers = numbers.clone()
            numbers[:, torch.randperm(columns)[:forbidden]] = -INFINITY
            found, expected = library.greatest(numbers, few), numbers.topk(few)
            assert found is not None
            assert torch.equal(found[0], expected.values)
            assert torch.equal(found[1], expected.indices)


@settings(deadline=None, max_examples=200)
@given(seed=st.integers(0, 2**32), few=st.integers(1, 12), kinds=st.integers(1, 30))
def test_of_equals_those_that_torch_takes(seed: int, few: int, kinds: int) -> None:
    with torch.no_grad():
        torch.manual_seed(seed)
        x = torch.randint(kinds, (2, few * library.PARTIAL + seed % 50)).float()
        found, expected = library.greatest(x, few), x.topk(few)
        assert found is not None
        assert torch.equal(found[0], expected.values)
        assert torch.equal(found[1], expected.indices)


@pytest.mark.parametrize("few", [1, 2, 3, 4, 7, 12])
def test_the_greatest_of_few(processor: str, few: int) -> None:
    x = some(columns=few)
    found = library.greatest(x, few)
    assert found is not None and torch.equal(found[0], x.sort(dim=1, descending=True).values)


@pytest.mark.parametrize("column", [0, 5, 130, 299])
def test_no_greatest_where_there_is_no_order(processor: str, column: int) -> None:
    x = some()
    x[4, column] = NAN
    assert library.greatest(x, 10) is None


@settings(deadline=None, max_examples=60)
@given(
    numbers=st.lists(st.sampled_from([-INFINITY, INFINITY, NAN, 0.0, -0.0, 1.5]), min_size=2),
    few=st.integers(1, 3),
)
def test_top_of_anything(numbers: Any, few: int) -> None:
    with torch.no_grad():
        x = torch.tensor([numbers * 100] * 2)
        found, expected = torch.topk(x.as_subclass(LogProbabilities), few), torch.topk(x, few)
        same = {"rtol": 0, "atol": 0, "equal_nan": True}
        torch.testing.assert_close(found.values, expected.values, **same)
        assert torch.equal(found.indices, expected.indices)


def forbid_nan(x: Tensor) -> Tensor:
    x[x != x] = torch.tensor(-INFINITY).to(x)
    return x


def put_one_by_one(x: Tensor) -> Tensor:
    x[x > 0] = torch.arange(float(torch.count_nonzero(x > 0)))
    return x


QUESTIONS: Dict[str, Callable[[Tensor], Any]] = {
    "forbid NaN": forbid_nan,
    "forbid NaN of a view": lambda x: (forbid_nan(x[2:4]), x),
    "forbid columns": lambda x: (x[:, 3:].fill_(-1), x[:, [0, 2]], x),
    "put where a mask says": put_one_by_one,
    "put a row": lambda x: x.__setitem__((x < 0).all(dim=1), x[1, :1]),
    "top": lambda x: torch.topk(x, 4),
    "top by name": lambda x: torch.topk(input=x, k=4, dim=1, largest=False),
    "top by place": lambda x: torch.topk(x, 4, -1, True, True),
    "top as a list of arguments": lambda x: torch.topk(x, 4, 1, False),
    "top unsorted": lambda x: torch.topk(x, 4, sorted=False).values.sort().values,
    "top of columns": lambda x: torch.topk(x, 4, dim=0),
    "top of three axes": lambda x: torch.topk(x.view(2, 3, -1), 4),
    "top of none": lambda x: torch.topk(x, 0),
    "a method": lambda x: x.topk(4, -1),
    "top of a transposed": lambda x: torch.topk(x.t(), 4),
    "top of doubles": lambda x: torch.topk(x.double(), 4),
    "bits": lambda x: x.view(torch.int32) + 1,
    "sum with a factor": lambda x: x.add(x, alpha=2),
    "sum of doubles": lambda x: x + x.double(),
    "from the other side": lambda x: torch.ones(300) + x,
    "out": lambda x: torch.add(x, 1, out=torch.empty(6, 300)),
    "changed in place": lambda x: x.exp_().mul_(2),
    "others": lambda x: (torch.stack([x, x]).logsumexp(0), x.tolist(), x.size(), x.numpy()),
    "unequal": lambda x: (x != x, x != x + 1, x != 3),
}


@pytest.mark.parametrize("nan", [False, True])
@pytest.mark.parametrize("name", QUESTIONS)
def test_any_question_has_an_ordinary_answer(name: str, nan: bool) -> None:
    logits = some()
    if nan:
        logits[2, 7] = NAN
    found = log_probabilities(logits)
    expected, _ = library.log_softmax(logits)
    assert isinstance(found, LogProbabilities) and type(expected) is Tensor
    answers, expected_answers = QUESTIONS[name](found), QUESTIONS[name](expected)
    same = {"rtol": 0, "atol": 0, "equal_nan": True}
    torch.testing.assert_close(as_tensors(answers), as_tensors(expected_answers), **same)
    torch.testing.assert_close(found.as_subclass(Tensor), expected, **same)


def as_tensors(answer: Any) -> Any:
    if isinstance(answer, tuple):
        return tuple(map(as_tensors, answer))
    return answer.as_subclass(Tensor) if isinstance(answer, Tensor) else answer


def test_nan_that_comes_later_is_seen() -> None:
    """In the tensor, in one that it is a view of, and in a sum; a copy taken before has none."""
    whole = log_probabilities(some())
    row, copied = whole[1], whole[[1, 2]]
    whole[1, 5] = NAN
    for x in (whole, row, whole[1:3], whole + 1, whole.view(-1), whole[[0, 1]]):
        assert int((x != x).sum()) == 1
    assert not (copied != copied).any()
    summed = log_probabilities(some()) + torch.tensor(INFINITY) - INFINITY
    assert (summed != summed).all()


def test_what_cannot_be_put_is_told() -> None:
    x = log_probabilities(some())
    with pytest.raises(TypeError):
        x[x != x] = "a"


def test_nowhere_is_an_ordinary_mask() -> None:
    x = log_probabilities(some())
    mask = x != x
    mask[1, 2] = True
    assert type(mask) is Tensor and int(mask.sum()) == 1
    x[mask] = 5.0
    assert x[1, 2].item() == 5


def test_copies() -> None:
    x = log_probabilities(some())
    file = io.BytesIO()
    torch.save(x, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    for other in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x)), loaded):
        assert type(other) is Tensor and torch.equal(other, x)


def test_inference_mode_keeps_no_versions() -> None:
    with torch.inference_mode():
        assert type(log_probabilities(some())) is Tensor


def test_what_was_made_before_inference_mode() -> None:
    x = log_probabilities(some())
    with torch.inference_mode():
        for part in (x[1], x[[0, 1]], x[x > 0], x + 1, x.view(-1), torch.topk(x, 3).values):
            assert not (part != part).any()
        x[x != x] = -INFINITY
        copied = x[[0, 1]]
        copied[0, 0] = NAN
        assert int((copied != copied).sum()) == 1
        assert torch.topk(copied, 2).values.isnan().any()
