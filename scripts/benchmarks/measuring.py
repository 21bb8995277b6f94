"""What the benchmarks share: sizes, models, random batches, searches, figures, options."""

import argparse
import json
import os
import platform
import re
import statistics
import time
from argparse import Namespace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.sequence_generator import SequenceGenerator
from torch import nn

import resdual_fairseq

OURS, HOST = "resdual_transformer", "transformer"
PRE_LN = {"encoder_normalize_before": True, "decoder_normalize_before": True}
SIZES = ("4+4x128", "6+6x512", "18+18x256")
EOS = 2


class Task:
    """What models, criterion and generator read of a task."""

    def __init__(self, words: int) -> None:
        self.source_dictionary = self.target_dictionary = Dictionary()
        for number in range(words):
            self.source_dictionary.add_symbol(f"word{number}")


def positive(text: str) -> int:
    """A whole number of 1 or more."""
    if not re.fullmatch(r"0*[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more")
    return int(text)


def heads(width: int) -> int:
    return max(2, width // 64)


def size(text: str) -> str:
    """``ENCODER+DECODERxWIDTH`` as it is, where it is that and the heads divide the width."""
    if not re.fullmatch(r"[1-9]\d*\+[1-9]\d*x[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text} is not layers and width such as {SIZES[0]}")
    width = int(text.split("x")[1])
    if width % heads(width) != 0:
        raise argparse.ArgumentTypeError(
            f"{text}: {heads(width)} heads do not divide {width}; give another width, as 64"
        )
    return text


def options_of(size: str) -> Dict[str, Any]:
    """``ENCODER+DECODERxWIDTH`` as fairseq's options."""
    layers, width = size.split("x")
    encoder, decoder = (int(number) for number in layers.split("+"))
    return {
        "encoder_layers": encoder,
        "decoder_layers": decoder,
        "encoder_embed_dim": int(width),
        "encoder_ffn_embed_dim": 4 * int(width),
        "encoder_attention_heads": heads(int(width)),
        "decoder_attention_heads": heads(int(width)),
        "dropout": 0.1,
        "share_all_embeddings": True,
        "max_source_positions": 256,
        "max_target_positions": 256,
    }


def build(arch: str, task: Task, **options: Any) -> nn.Module:
    torch.manual_seed(1)
    args = Namespace(arch=arch, **options)
    ARCH_CONFIG_REGISTRY[arch](args)
    return ARCH_MODEL_REGISTRY[arch].build_model(args, task)


def set_activations_to_zero(model: nn.Module, share: float) -> None:
    """Lower biases until ReLU sets this share of feed-forward units to 0, as training does.

    What comes into a feed-forward block has just been normalized, or nearly so in Post-LN.
    """
    if not share:
        return
    below = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(share))
    for layer in (*model.encoder.layers, *model.decoder.layers):
        layer.fc1.bias.data = -below * layer.fc1.weight.data.norm(dim=1)


def batch(rows: int, length: int, words: int) -> Dict[str, Any]:
    """Random sentences of like length (rows x length), without padding."""
    tokens = torch.randint(4, 4 + words, (rows, length))
    tokens[:, -1] = EOS
    return {
        "ntokens": tokens.numel(),
        "net_input": {
            "src_tokens": tokens,
            "src_lengths": torch.full((rows,), length),
            "prev_output_tokens": tokens.roll(1, dims=1),
        },
        "target": tokens,
    }


def search_of(model: nn.Module, task: Task, sample: Dict[str, Any], beam: int) -> Callable[[], Any]:
    """A search as ``fairseq-generate`` runs it, for 20 tokens a sentence; gives hypotheses."""
    model.eval().make_generation_fast_()
    generator = SequenceGenerator(
        [model], task.target_dictionary, beam_size=beam, min_len=19, max_len_b=20
    )
    return lambda: generator.generate([model], sample)


def summary(pairs: Sequence[Tuple[float, float]], unit: str) -> Dict[str, Any]:
    """Medians of both sides, and of ours over host's within a round, with its extremes."""
    ratios = [ours / host for ours, host in pairs]
    return {
        f"ours_{unit}": statistics.median(ours for ours, _ in pairs),
        f"host_{unit}": statistics.median(host for _, host in pairs),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "rounds": len(pairs),
    }


def seconds(work: Callable[[], Any]) -> Tuple[float, float]:
    """By the clock, and of the processor, which counts no time that other programs took."""
    began, spent = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - spent


def in_turns(ours: Callable[[], Any], host: Callable[[], Any], rounds: int) -> Dict[str, Any]:
    """Median seconds of both, and of ours over host's within a round, with its extremes.

    `processor` is the median ratio of processor time.
    """
    ours(), host()
    pairs: List[Tuple[Tuple[float, float], Tuple[float, float]]] = []
    for index in range(rounds):
        if index % 2:
            second, first = seconds(host), seconds(ours)
        else:
            first, second = seconds(ours), seconds(host)
        pairs.append((first, second))
    by_clock, of_processor = ([(a[i], b[i]) for a, b in pairs] for i in range(2))
    return {
        **summary(by_clock, "seconds"),
        "processor": summary(of_processor, "seconds")["ratio"],
    }


def check_out(parser: argparse.ArgumentParser, out: Optional[Path]) -> None:
    """End where the figures could not be written."""
    if out is not None and out.is_dir():
        parser.error(f"--out {out} is a folder; give a file")
    if out is not None and not out.absolute().parent.is_dir():
        parser.error(f"--out {out}: there is no folder {out.absolute().parent}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every benchmark can be told."""
    parser.add_argument("--sizes", nargs="+", type=size, default=list(SIZES), metavar="N+MxWIDTH")
    parser.add_argument("--words", type=positive, default=8000, help="of the dictionary")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")


def processor() -> str:
    """What Linux calls the processor, with the sets of instructions that products can use."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    name = re.search(r"^model name\s*: (.*)", text, re.M)
    flags = set((re.search(r"^flags\s*: (.*)", text, re.M) or [""])[0].split())
    known = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16") if flag in flags]
    return " ".join([name.group(1) if name else platform.processor(), *known])


def machine(threads: int) -> Dict[str, Any]:
    return {
        "machine": platform.machine(),
        "processor": processor(),
        "threads": threads,
        "torch": torch.__version__,
        "resdual_fairseq": resdual_fairseq.__version__,
        "RESDUAL_NATIVE": os.environ.get("RESDUAL_NATIVE", ""),
    }


def write(path: Path, machine: Dict[str, Any], rows: List[Dict[str, Any]]) -> None:
    path.write_text(json.dumps({**machine, "figures": rows}, indent=2) + "\n")
