"""The rivals' equations in plain float64, as their papers write them: no code of the package."""

import math
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Tuple

import torch
from torch import Tensor

from .equations import Block, Function, PlainModel
from .language_models import PlainLanguageModel


@dataclass
class Stack:
    """A stack to be joined.

    Attributes:
        layers: its blocks, layer by layer.
        others: the number of layers of the other stack, 0 if there is none.
        name: ``encoder`` or ``decoder``.
        model: whose weights they are.
    """

    layers: List[List[Block]]
    others: int
    name: str
    model: PlainModel

    @property
    def blocks(self) -> List[Block]:
        return [block for layer in self.layers for block in layer]

    def weight(self, name: str) -> Tensor:
        return self.model.weights[name]

    def norm(self, name: str) -> Function:
        return self.model.norm(name)

    def end(self, z: Tensor, norm: str = "layer_norm") -> Tensor:
        return self.norm(f"{self.name}.{norm}")(z)

    def option(self, name: str, default: Any) -> Any:
        return self.model.options.get(name) or default


def b2t(x: Tensor, stack: Stack) -> Tensor:
    for *first, last in stack.layers:
        bottom = x
        for block in first:
            x = block.norm(x + block.f(x))
        x = last.norm(bottom + x + last.f(x))
    return x


def sandwich(x: Tensor, stack: Stack) -> Tensor:
    if stack.option("residual_variant", "sandwich") == "peri":
        x = stack.end(x, "layer_norm.embedding_norm")
    for block in stack.blocks:
        x = x + stack.norm(f"{block.name}.output_norm")(block.f(block.norm(x)))
    return stack.end(x)


def mix(x: Tensor, stack: Stack) -> Tensor:
    post = math.floor(stack.option("residual_post_fraction", 0.25) * len(stack.layers))
    for number, layer in enumerate(stack.layers, start=1):
        for block in layer:
            x = block.norm(x + block.f(x)) if number <= post else x + block.f(block.norm(x))
    return stack.end(x)


def deepnorm(x: Tensor, stack: Stack) -> Tensor:
    depth = len(stack.layers)
    if not stack.others:
        alpha = (2 * depth) ** (1 / 4)
    elif stack.name == "encoder":
        alpha = 0.81 * (depth**4 * stack.others) ** (1 / 16)
    else:
        alpha = (3 * depth) ** (1 / 4)
    for block in stack.blocks:
        x = block.norm(alpha * x + block.f(x))
    return x


def admin(x: Tensor, stack: Stack) -> Tensor:
    n = len(stack.blocks)
    fixed = {
        "log-fixed": math.sqrt((n + 1) / math.log(n + 1) - 1),
        "flat-fixed": math.sqrt(n),
    }.get(stack.option("residual_variant", "log"))
    for block in stack.blocks:
        omega = stack.weight(f"{block.name}.omega") if fixed is None else fixed
        x = block.norm(omega * x + block.f(x))
    return x


def post(x: Tensor, stack: Stack) -> Tensor:
    for block in stack.blocks:
        x = block.norm(x + block.f(x))
    return x


def tfixup(x: Tensor, stack: Stack) -> Tensor:
    for block in stack.blocks:
        x = x + block.f(x)
    return x


def rezero(x: Tensor, stack: Stack) -> Tensor:
    for block in stack.blocks:
        x = x + stack.weight(f"{block.name}.a") * block.f(x)
    return x


def layerscale(x: Tensor, stack: Stack) -> Tensor:
    for block in stack.blocks:
        x = x + stack.weight(f"{block.name}.gamma") * block.f(block.norm(x))
    return stack.end(x)


def lnscale(x: Tensor, stack: Stack) -> Tensor:
    for number, layer in enumerate(stack.layers, start=1):
        for block in layer:
            x = x + block.f(block.norm(x) / math.sqrt(number))
    return stack.end(x)


def keel(x: Tensor, stack: Stack) -> Tensor:
    first, *others = stack.blocks
    counts_layers = stack.option("residual_variant", "blocks") == "layers"
    gain = len(stack.layers if counts_layers else stack.blocks)
    x = x + first.f(stack.norm(f"{first.name}.input_norm")(x))
    for block in others:
        alpha = 1 if block in stack.layers[0] else gain
        x = block.norm(alpha * x + block.f(stack.norm(f"{block.name}.input_norm")(x)))
    return x


def siamese(x: Tensor, stack: Stack) -> Tensor:
    variant = stack.option("residual_variant", "full")
    y = x
    if variant != "bare":
        x = stack.end(x, "layer_norm.start_norm")
    for number, layer in enumerate(stack.layers, start=1):
        c = {"bare": 1.0, "paper-scale": math.sqrt(number + 1)}.get(variant, math.sqrt(2 * number))
        for block in layer:
            z = x + stack.norm(f"{block.name}.dual_norm")(y)
            if variant != "bare":
                z = stack.norm(f"{block.name}.input_norm")(z)
            o = block.f(z)
            x, y = block.norm(x + o / c), y + o
    out = x + stack.end(y, "layer_norm.dual_norm")
    return out if variant == "bare" else stack.end(out)


def hyper(x: Tensor, stack: Stack) -> Tensor:
    n = stack.option("residual_streams", 4)
    streams = [x] * n
    for block in stack.blocks:
        static = stack.weight(f"{block.name}.alpha")
        alphas = [[static[i, j].expand(x.shape[:-1]) for j in range(n + 1)] for i in range(n)]
        betas = [stack.weight(f"{block.name}.beta")[i].expand(x.shape[:-1]) for i in range(n)]
        if stack.option("residual_variant", "dynamic") == "dynamic":
            for i, h in enumerate(streams):
                normed = stack.norm(f"{block.name}.stream_norm")(h)
                moved = (normed @ stack.weight(f"{block.name}.alpha_weight")).tanh()
                moved = moved * stack.weight(f"{block.name}.alpha_scale")
                alphas[i] = [alphas[i][j] + moved[..., j] for j in range(n + 1)]
                moved = (normed @ stack.weight(f"{block.name}.beta_weight")).tanh()
                moved = moved * stack.weight(f"{block.name}.beta_scale")
                betas[i] = betas[i] + moved[..., 0]
        mixed = [
            sum(alphas[i][j].unsqueeze(-1) * streams[i] for i in range(n)) for j in range(n + 1)
        ]
        f = block.f(block.norm(mixed[0]))
        streams = [mixed[j + 1] + betas[j].unsqueeze(-1) * f for j in range(n)]
    return stack.end(sum(streams))


def mhc(x: Tensor, stack: Stack) -> Tensor:
    n = stack.option("residual_streams", 4)
    streams = [x] * n
    for block in stack.blocks:
        z = torch.cat(streams, dim=-1)
        z = z / (z.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
        a = stack.weight(f"{block.name}.a").repeat_interleave(torch.tensor([n, n, n * n]))
        found = a * (z @ stack.weight(f"{block.name}.phi").T) + stack.weight(f"{block.name}.b")
        read = found[..., :n].sigmoid() + 1e-6
        write = 2 * found[..., n : 2 * n].sigmoid()
        mix = found[..., 2 * n :].unflatten(-1, (n, n)).softmax(-1) + 1e-6
        mix = mix / (mix.sum(-2, keepdim=True) + 1e-6)
        for _ in range(19):
            mix = mix / (mix.sum(-1, keepdim=True) + 1e-6)
            mix = mix / (mix.sum(-2, keepdim=True) + 1e-6)
        f = block.f(block.norm(sum(read[..., j, None] * streams[j] for j in range(n))))
        streams = [
            write[..., i, None] * f + sum(mix[..., j, i, None] * streams[j] for j in range(n))
            for i in range(n)
        ]
    return stack.end(sum(streams))


def dlcl(x: Tensor, stack: Stack) -> Tensor:
    is_pre = stack.option("residual_variant", "pre") == "pre"
    ends = [layer[-1].name for layer in stack.layers]
    columns = [stack.weight(f"{name}.column") for name in (f"{stack.name}.layer_norm", *ends)]
    history: List[Tensor] = []
    for number in range(len(stack.layers) + 1):
        after_layer = stack.norm(f"{ends[number - 1]}.layer_norm") if number else lambda z: z
        history.append(after_layer(x) if is_pre else x)
        # Column j starts at row j of the triangular matrix.
        x = sum(columns[j][number - j] * y for j, y in enumerate(history))
        x = x if is_pre else after_layer(x)
        for block in stack.layers[number] if number < len(stack.layers) else []:
            x = x + block.f(block.norm(x)) if is_pre else block.norm(x + block.f(x))
    return stack.end(x) if is_pre else x


def learned_alpha(x: Tensor, stack: Stack) -> Tensor:
    d = x
    for block in stack.blocks:
        f = block.f(x)
        x, d = block.norm(x + f), d + f
    return stack.weight(f"{stack.name}.layer_norm.learned_alpha") * x + stack.end(d)


EQUATIONS: Dict[str, Callable[[Tensor, Stack], Tensor]] = {
    "b2t": b2t,
    "sandwich": sandwich,
    "mix": mix,
    "deepnorm": deepnorm,
    "admin": admin,
    "dsinit": post,
    "tfixup": tfixup,
    "rezero": rezero,
    "layerscale": layerscale,
    "lnscale": lnscale,
    "keel": keel,
    "siamese": siamese,
    "hyper": hyper,
    "mhc": mhc,
    "dlcl": dlcl,
    "resdual": learned_alpha,
}


class PlainRival(PlainModel):
    """A model of one of the rivals; see :class:`PlainModel`."""

    def __init__(self, model: Any, options: Dict[str, Any]) -> None:
        super().__init__(model, EQUATIONS[options["residual"]], options, kept={})

    def run(self, side: str, x: Tensor, stack: List[Block]) -> Tensor:
        return run(self, side, x, stack)


class PlainRivalLanguageModel(PlainLanguageModel):
    """A language model of one of the rivals."""

    def __init__(self, model: Any, options: Dict[str, Any]) -> None:
        super().__init__(model, EQUATIONS[options["residual"]], options)

    def run(self, side: str, x: Tensor, stack: List[Block]) -> Tensor:
        return run(self, side, x, stack)


def run(model: PlainModel, side: str, x: Tensor, blocks: List[Block]) -> Tensor:
    """The stack's output, by its scheme's equation."""
    other = "decoder" if side == "encoder" else "encoder"
    per_layer = len(blocks) // model.options[f"{side}_layers"]
    is_alone = side == "decoder" and per_layer == 2
    layers = [blocks[i : i + per_layer] for i in range(0, len(blocks), per_layer)]
    others = 0 if is_alone else model.options[f"{other}_layers"]
    return model.join(x, Stack(layers, others, side, model))


CASES: Dict[str, Tuple[str, Dict[str, Any]]] = {
    "b2t": ("b2t", {}),
    "b2t unscaled": ("b2t", {"residual_variant": "unscaled"}),
    "sandwich": ("sandwich", {}),
    "peri": ("sandwich", {"residual_variant": "peri"}),
    "mix": ("mix", {}),
    "mix half": ("mix", {"residual_post_fraction": 0.5}),
    "deepnorm": ("deepnorm", {}),
    "admin": ("admin", {}),
    "admin log-fixed": ("admin", {"residual_variant": "log-fixed"}),
    "admin flat": ("admin", {"residual_variant": "flat"}),
    "admin flat-fixed": ("admin", {"residual_variant": "flat-fixed"}),
    "admin linear": ("admin", {"residual_variant": "linear"}),
    "dsinit": ("dsinit", {}),
    "dsinit paper": ("dsinit", {"residual_variant": "paper"}),
    "tfixup": ("tfixup", {}),
    "rezero": ("rezero", {}),
    "layerscale": ("layerscale", {}),
    "lnscale": ("lnscale", {}),
    "keel": ("keel", {}),
    "keel layers": ("keel", {"residual_variant": "layers"}),
    "siamese": ("siamese", {}),
    "siamese bare": ("siamese", {"residual_variant": "bare"}),
    "siamese paper-scale": ("siamese", {"residual_variant": "paper-scale"}),
    "hyper": ("hyper", {}),
    "hyper static": ("hyper", {"residual_variant": "static"}),
    "hyper of two": ("hyper", {"residual_streams": 2}),
    "mhc": ("mhc", {}),
    "mhc of two": ("mhc", {"residual_streams": 2}),
    "dlcl": ("dlcl", {}),
    "dlcl post": ("dlcl", {"residual_variant": "post"}),
    "learned alpha": ("resdual", {"residual_alpha": "learned"}),
    "learned scalar": ("resdual", {"residual_alpha": "learned-scalar", "residual_gain": 0.5}),
}
"""Every rival in every form: its kind and options."""


def options_of(case: str) -> Dict[str, Any]:
    """The options of a case, with its kind."""
    kind, options = CASES[case]
    return {"residual": kind, **options}
