"""Protects the diagnostics' measurements: they equal plain autograd's on the paper's equations."""

from typing import Any, Dict, List, Tuple

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from helpers.equations import Block, Function, PlainModel
from helpers.models import KINDS, PAD, build, forward, sample, stir, stirred, task
from torch import Tensor, nn

from resdual_fairseq.diagnostics.measure import Label, measure
from resdual_fairseq.diagnostics.probes import Probe
from resdual_fairseq.diagnostics.table import QUANTITIES, Row
from resdual_fairseq.model.blocks import blocks_of

SMOOTHING = 0.1


def criterion() -> Any:
    return LabelSmoothedCrossEntropyCriterion(task(), False, SMOOTHING)


class Recorder:
    """The equations of a kind, with every stream kept: a list of (x, z, f, d) per stack."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.stacks: List[Tuple[List[Tensor], List[Tensor], List[Tensor], List[Tensor]]] = []

    def __call__(
        self, x: Tensor, stack: List[Block], closing: Function, s: float, alpha: float
    ) -> Tensor:
        d = s * x
        xs, zs, fs, ds = [x], [], [], [d]
        for block in stack:
            z = block.norm(x) if self.kind == "pre" else x
            f = block.f(z)
            x = x + f if self.kind == "pre" else block.norm(x + f)
            d = d + s * f
            zs.append(z)
            fs.append(f)
            xs.append(x)
            ds.append(d)
        zs.append(closing(x) if self.kind == "pre" else x)
        for value in xs + zs:
            value.retain_grad()
        self.stacks.append((xs, zs, fs, ds))
        if self.kind == "resdual":
            return alpha * x + closing(d / s)
        return closing(x) if self.kind == "pre" else x


def smoothed_loss(logits: Tensor, target: Tensor) -> Tensor:
    """fairseq's label-smoothed cross entropy, summed over words."""
    logs = logits.log_softmax(dim=-1)[target.ne(PAD)]
    words = target[target.ne(PAD)]
    spread = SMOOTHING / (logits.size(-1) - 1)
    right = -logs.gather(1, words.unsqueeze(1)).sum()
    return (1 - SMOOTHING - spread) * right - spread * logs.sum()


def size(v: Tensor) -> Tensor:
    return v.square().mean(dim=-1).sqrt()


@pytest.mark.usefixtures("exact_softmax")
@pytest.mark.parametrize("kind", KINDS)
def test_measurements_are_plain_autograds(kind: str) -> None:
    options: Dict[str, Any] = {"encoder_layers": 2, "decoder_layers": 2}
    if kind == "resdual":
        options["residual_scale"] = 0.25
    model = stirred(residual=kind, **options)
    batches = [sample(seed=7), sample(seed=21)]
    rows = measure(model, criterion(), batches, Label("m", kind, 3))

    recorder = Recorder(kind)
    plain = PlainModel(model, recorder, options, kept={})
    total, words = torch.zeros(()), 0
    for batch in batches:
        inputs = batch["net_input"]
        logits = plain(inputs["src_tokens"], inputs["prev_output_tokens"])
        total = total + smoothed_loss(logits, batch["target"])
        words += batch["ntokens"]
    (total / words).backward()

    found = {(r.stack, r.block, r.quantity, r.matrix): r.value for r in rows}
    assert len(found) == len(rows)
    assert {row.quantity for row in rows} <= set(QUANTITIES)
    assert found["model", 0, "loss", ""] == pytest.approx(total.item() / words, rel=1e-6)
    for number, (stack, tokens) in enumerate(
        [("encoder", "src_tokens"), ("decoder", "prev_output_tokens")]
    ):
        records = recorder.stacks[number::2]
        masks = [batch["net_input"][tokens].ne(PAD) for batch in batches]
        expected = streams(records, masks, kind)
        expected.update(weights(plain, model, stack))
        for (k, quantity, matrix), value in expected.items():
            actual = found.pop((stack, k, quantity, matrix))
            assert actual == pytest.approx(value, rel=1e-5), (stack, k, quantity, matrix)
    rest = {quantity for _, _, quantity, _ in found}
    assert rest == {"loss", "largest"}


def streams(records: List[Any], masks: List[Tensor], kind: str) -> Dict[Any, float]:
    """Means over words, and norms of gradients, by (k, quantity, matrix)."""

    def mean(values: List[Tensor]) -> float:
        return torch.cat([v[mask] for v, mask in zip(values, masks)]).mean().item()

    def norm(values: List[Tensor]) -> float:
        return torch.cat([v.grad.flatten() for v in values]).norm().item()

    expected: Dict[Any, float] = {}
    blocks = len(records[0][2])
    for k in range(1, blocks + 2):
        xs, zs = ([r[i][k - 1] for r in records] for i in (0, 1))
        expected[k, "stream_size", ""] = mean([size(x) for x in xs])
        if kind == "resdual":
            ds = [r[3][k - 1] for r in records]
            expected[k, "dual_size", ""] = mean([size(d) for d in ds])
            expected[k, "dual_largest", ""] = max(d.abs().max().item() for d in ds)
        if k <= blocks:
            next_x, next_z = ([r[i][k] for r in records] for i in (0, 1))
            fs = [r[2][k - 1] for r in records]
            cosines = [torch.cosine_similarity(a, b, dim=-1) for a, b in zip(zs, next_z)]
            expected[k, "output_size", ""] = mean([size(f) for f in fs])
            expected[k, "stream_change", ""] = mean([size(b - a) for a, b in zip(xs, next_x)])
            expected[k, "input_change", ""] = mean([size(b - a) for a, b in zip(zs, next_z)])
            expected[k, "input_cosine", ""] = mean(cosines)
            expected[k, "stream_gradient", ""] = norm(xs)
            expected[k, "input_gradient", ""] = norm(zs)
    return expected


def weights(plain: PlainModel, model: nn.Module, stack: str) -> Dict[Any, float]:
    """Norms of the gradients of each block's weights, one by one and together."""
    expected: Dict[Any, float] = {}
    names = {"self_attn": "self_attn_layer_norm", "cross_attn": "encoder_attn_layer_norm"}
    for block in blocks_of(model):
        if block.stack == stack:
            layer = f"{stack}.layers.{block.layer}"
            norms = [plain.weights[f"{layer}.{name}"].grad.norm() for name in block.weights]
            for name, value in zip(block.weights, norms):
                expected[block.k, "gradient", name] = value.item()
            expected[block.k, "gradient", ""] = torch.stack(norms).norm().item()
            for name in ("weight", "bias"):
                norm = names.get(block.part, "final_layer_norm")
                grad = plain.weights[f"{layer}.{norm}.{name}"].grad
                expected[block.k, "gradient", f"layer_norm.{name}"] = grad.norm().item()
    return expected


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_stays_on_the_model(kind: str) -> None:
    model = stir(build(residual=kind, dropout=0.3)).eval()
    before = [sorted(module.__dict__) for module in model.modules()]
    expected = forward(model, sample())
    measure(model, criterion(), [sample()], Label("m", kind, 1), trained=True)
    assert [sorted(module.__dict__) for module in model.modules()] == before
    assert torch.equal(forward(model, sample()), expected)


def test_a_probe_leaves_after_an_error() -> None:
    model = build()
    before = [sorted(module.__dict__) for module in model.modules()]
    with pytest.raises(KeyboardInterrupt), Probe(model):
        assert [sorted(module.__dict__) for module in model.modules()] != before
        raise KeyboardInterrupt
    assert [sorted(module.__dict__) for module in model.modules()] == before


def test_largest_takes_the_streams_the_output_and_padding() -> None:
    model = stirred(residual="pre", encoder_layers=1)
    with torch.no_grad():
        model.encoder.layers[0].fc2.bias[0] = 70000.0
    rows = measure(model, criterion(), [sample()], Label("m", "pre", 1))
    largest = {r.block: r.value for r in rows if r.stack == "encoder" and r.quantity == "largest"}
    assert largest[1] < 1000
    assert largest[2] == pytest.approx(70000, rel=0.01)
    assert largest[3] == pytest.approx(70000, rel=0.01)


def test_a_nan_is_not_hidden() -> None:
    model = stirred(residual="post")
    with torch.no_grad():
        model.encoder.layers[0].fc2.bias[0] = float("nan")
    rows = measure(model, criterion(), [sample()], Label("m", "post", 1))
    values: Dict[int, Row] = {
        r.block: r for r in rows if r.stack == "encoder" and r.quantity == "largest"
    }
    assert values[1].value < 1000
    assert values[2].value != values[2].value
