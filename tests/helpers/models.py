"""Tiny models of this package and of fairseq, with weights that hide no mistake."""

from argparse import Namespace
from typing import Any, Dict, List, Optional, Tuple

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from torch import Tensor, nn

import resdual_fairseq  # noqa: F401  (registers the models)

MODEL = "resdual_transformer"
KINDS = ("resdual", "post", "pre")
PAD, EOS = 1, 2
WORDS = 20
TINY: Dict[str, Any] = {
    "encoder_embed_dim": 8,
    "encoder_ffn_embed_dim": 12,
    "encoder_attention_heads": 2,
    "encoder_layers": 2,
    "decoder_attention_heads": 2,
    "decoder_layers": 3,
    "dropout": 0.0,
    "max_source_positions": 64,
    "max_target_positions": 64,
}


class Task:
    """The part of a fairseq task that models, criterions and generators read."""

    def __init__(self, source: Dictionary, target: Dictionary) -> None:
        self.source_dictionary = source
        self.target_dictionary = target


def dictionary(words: int = WORDS, prefix: str = "word") -> Dictionary:
    """fairseq's four special symbols, then so many words."""
    entries = Dictionary()
    for number in range(words):
        entries.add_symbol(f"{prefix}{number}")
    return entries


def task(joined: bool = True) -> Task:
    """A translation task; its two languages share words, or (not joined) have their own."""
    source = dictionary()
    return Task(source, source if joined else dictionary(WORDS + 3, prefix="mot"))


def build(arch: str = MODEL, seed: int = 1, **options: Any) -> nn.Module:
    """A model as a command line would build it, tiny unless told, in float64."""
    torch.manual_seed(seed)
    joined = bool(options.get("share_all_embeddings"))
    args = Namespace(arch=arch, **{**TINY, **options})
    ARCH_CONFIG_REGISTRY[arch](args)
    return ARCH_MODEL_REGISTRY[arch].build_model(args, task(joined)).double()


def stir(model: nn.Module, seed: int = 5, size: float = 0.3) -> nn.Module:
    """Move all weights, so that no bias is 0 and no norm at identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight.add_(size * noise.to(weight.dtype))
    return model


def stirred(**options: Any) -> nn.Module:
    """A model of this package with moved weights, without dropout's randomness."""
    return stir(build(**options)).eval()


def sentences(lengths: List[int], seed: int, left_pad: bool = False, words: int = WORDS) -> Tensor:
    """Random sentences that end in EOS, padded to one length (B x T)."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.full((len(lengths), max(lengths)), PAD)
    for row, length in zip(tokens, lengths):
        sentence = torch.randint(4, 4 + words, (length,), generator=generator)
        sentence[-1] = EOS
        if left_pad:
            row[len(row) - length :] = sentence
        else:
            row[:length] = sentence
    return tokens


def shifted(target: Tensor) -> Tensor:
    """Teacher forcing's decoder input (B x T, padded right): EOS, then the target but its last."""
    previous = torch.full_like(target, PAD)
    for row, sentence in zip(previous, target):
        words = sentence[sentence.ne(PAD)]
        row[0] = EOS
        row[1 : len(words)] = words[:-1]
    return previous


def sample(left_pad: bool = True, seed: int = 7) -> Dict[str, Any]:
    """A batch as fairseq's translation task collates it, with padding in source and target."""
    source = sentences([6, 4, 7], seed, left_pad)
    target = sentences([5, 6, 3], seed + 1)
    return {
        "id": torch.arange(3),
        "nsentences": 3,
        "ntokens": int(target.ne(PAD).sum()),
        "net_input": {
            "src_tokens": source,
            "src_lengths": source.ne(PAD).sum(dim=1),
            "prev_output_tokens": shifted(target),
        },
        "target": target,
    }


@torch.no_grad()
def let_sentences_end(model: nn.Module) -> nn.Module:
    """Make EOS as likely as the likeliest word, so that beams end at different steps.

    A model with adaptive softmax has no such table and stays as it is.
    """
    if model.decoder.output_projection is None:
        return model
    table = model.decoder.output_projection.weight
    features = forward(model, sample(), features_only=True)
    table[EOS] = table[(features @ table.T).mean(dim=(0, 1)).argmax()]
    return model


def step_by_step(model: nn.Module, tokens: Tensor, memory: Any = None) -> List[Tensor]:
    """Incremental decoding's output after each token (B x 1 x V), of B x T tokens."""
    state: Dict[str, Dict[str, Optional[Tensor]]] = {}
    return [
        model.decoder(tokens[:, :length], encoder_out=memory, incremental_state=state)[0]
        for length in range(1, tokens.size(1) + 1)
    ]


def forward(model: nn.Module, batch: Dict[str, Any], **options: Any) -> Tensor:
    """The model's logits (or features) on a batch: B x T x C."""
    return model(**batch["net_input"], **options)[0]


def gradients(model: nn.Module) -> Dict[str, Optional[Tensor]]:
    """Every parameter's gradient, by name."""
    return {name: weight.grad for name, weight in model.named_parameters()}


def output_and_gradients(model: nn.Module, seed: int = 3) -> Tuple[Tensor, Dict[str, Any]]:
    """Of the mean square of the logits; the seed decides dropout and LayerDrop."""
    torch.manual_seed(seed)
    model.zero_grad()
    output = forward(model, sample())
    output.square().mean().backward()
    return output.detach(), gradients(model)


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    """Absolute difference, of numbers and of shapes."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def assert_same_gradients(
    actual: Dict[str, Optional[Tensor]],
    expected: Dict[str, Optional[Tensor]],
    tolerance: float = 1e-10,
) -> None:
    """The same parameters have gradients, and the same ones."""
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        other = actual[name]
        if gradient is None or other is None:
            assert gradient is other, f"{name}: one of the two has no gradient"
        else:
            assert_close(other, gradient, tolerance)
