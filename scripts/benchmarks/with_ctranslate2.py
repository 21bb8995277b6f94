"""The same search by CTranslate2, which holds fairseq's Post-LN and Pre-LN but not ResiDual."""

import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any, Callable, Dict

import torch
from fairseq.models import ARCH_CONFIG_REGISTRY
from torch import nn

from measuring import HOST, PRE_LN, Task, build


def translating(
    options: Dict[str, Any], task: Task, sample: Dict[str, Any], beam: int, threads: int, int8: bool
) -> Callable[[], Any]:
    """A search of 20 tokens a sentence with weights of fairseq's Pre-LN of these options."""
    import ctranslate2

    host = build(HOST, task, **options, **PRE_LN).eval()
    with tempfile.TemporaryDirectory() as folder:
        translator = ctranslate2.Translator(
            converted(host, options, task, Path(folder)),
            intra_threads=threads,
            compute_type="int8" if int8 else "float32",
        )
    tokens = sample["net_input"]["src_tokens"][:, :-1].tolist()
    source = [[task.source_dictionary[token] for token in row] for row in tokens]
    limits = {"min_decoding_length": 20, "max_decoding_length": 20}
    return lambda: translator.translate_batch(source, beam_size=beam, num_hypotheses=beam, **limits)


def converted(host: nn.Module, options: Dict[str, Any], task: Task, folder: Path) -> str:
    """The folder of a model for CTranslate2."""
    from ctranslate2.converters import FairseqConverter

    for language in ("de", "en"):
        task.source_dictionary.save(str(folder / f"dict.{language}.txt"))
    args = Namespace(arch=HOST, task="translation", left_pad_source=True, **options, **PRE_LN)
    args.source_lang, args.target_lang = "de", "en"
    ARCH_CONFIG_REGISTRY[HOST](args)
    torch.save({"args": args, "model": host.state_dict()}, folder / "model.pt")
    out = str(folder / "converted")
    FairseqConverter(str(folder / "model.pt"), str(folder)).convert(out)
    return out
