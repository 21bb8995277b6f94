"""`resdual-export`: a translation model as ONNX files, which run without fairseq and torch.

The folder then holds

    encoder.onnx       source -> encoder_out, memory
    decoder_step.onnx  token, past, memory, memory_padding -> log_probabilities, grown
    source.txt, target.txt   the symbols, one a line, numbered from 0
    model.json         the numbers of padding and EOS, the longest source and target

What the tensors are, graphs.py says; `grown` is the next step's `past`.
"""

import argparse
import json
import logging
import warnings
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

import torch
from fairseq import checkpoint_utils
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ..checkpoints.contents import add_user_dir, class_of_model, import_user_dir
from ..checkpoints.loading import load_whole_checkpoint
from ..compat import require
from ..errors import ResDualError, absence
from ..files import replacing
from ..transformer import MODEL, ResDualTransformerModel
from .graphs import DecoderStep, Encoding
from .quantization import round_weights

ENCODER, STEP = "encoder.onnx", "decoder_step.onnx"
INPUTS: Dict[str, Dict[str, Dict[int, str]]] = {
    ENCODER: {"source": {0: "rows", 1: "source_length"}},
    STEP: {
        "token": {0: "rows"},
        "past": {2: "rows", 4: "steps"},
        "memory": {2: "rows", 4: "source_length"},
        "memory_padding": {0: "rows", 1: "source_length"},
    },
}
"""Their inputs, and which axes of each have no fixed size."""
OUTPUTS = {ENCODER: ("encoder_out", "memory"), STEP: ("log_probabilities", "grown")}


@torch.no_grad()
def programs(model: ResDualTransformerModel) -> Dict[str, ExportedProgram]:
    """The graphs of :class:`Encoding` and :class:`DecoderStep`, by the names of their files.

    Args:
        model: a ``ResDualTransformerModel`` in float32, on the CPU.

    Raises:
        ResDualError: the model has parts that cannot be exported.
    """
    step, encoding = DecoderStep(model).eval(), Encoding(model).eval()
    encoder = encoding.encoder
    # Sizes of 0 and 1 would be taken for constants.
    source = torch.full((2, 3), encoder.dictionary.eos() + 1)
    memory = encoding(source)[1]
    past, padding = memory[..., :2, :], source.eq(encoder.padding_idx)
    sizes = {
        "rows": Dim("rows"),
        "source_length": Dim("source_length", max=encoder.max_source_positions),
        "steps": Dim("steps", max=step.decoder.max_target_positions - 1),
    }

    def graph(name: str, function: nn.Module, *example: Tensor) -> ExportedProgram:
        free = tuple(
            {axis: sizes[size] for axis, size in axes.items()} for axes in INPUTS[name].values()
        )
        return torch.export.export(function, example, dynamic_shapes=free)

    return {
        ENCODER: graph(ENCODER, encoding, source),
        STEP: graph(STEP, step, source[:, 0], past, memory, padding),
    }


def write_graph(name: str, program: ExportedProgram, folder: Path) -> None:
    """Write one of :func:`programs` as an ONNX file of its name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the exporter says of its own insides
        onnx = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=list(INPUTS[name]),
            output_names=OUTPUTS[name],
            dynamic_shapes=tuple(INPUTS[name].values()),
        )
    assert onnx is not None
    onnx.save(folder / name)


def write_model(model: ResDualTransformerModel, folder: Path, int8: bool = False) -> None:
    """Write a model's files into an existing folder.

    Args:
        model: as for :func:`programs`.
        folder: where to.
        int8: round the weights (:func:`round_weights`).

    Raises:
        ResDualError: the model cannot be exported, or onnx is not installed.
    """
    require("export", "onnxruntime", "onnxscript")
    for name in ("onnx_ir", "onnxscript", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name, program in programs(model).items():
        print(f"writing {name}", flush=True)
        write_graph(name, program, folder)
        if int8:
            round_weights(folder / name)
    for side, stack in (("source", model.encoder), ("target", model.decoder)):
        symbols = "".join(f"{symbol}\n" for symbol in stack.dictionary.symbols)
        (folder / f"{side}.txt").write_text(symbols, encoding="utf-8")
    facts = {
        "pad": model.decoder.dictionary.pad(),
        "eos": model.decoder.dictionary.eos(),
        "unk": model.encoder.dictionary.unk(),
        "longest_source": model.encoder.max_positions(),
        "longest_target": model.decoder.max_positions(),
        "int8": int8,
    }
    (folder / "model.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def load(checkpoint: Path, data: Optional[Path]) -> Any:
    """The model of a checkpoint.

    Args:
        checkpoint: written by fairseq-train.
        data: a data-bin with its dictionaries, if not the one it was trained on.

    Raises:
        ResDualError: the file, its dictionaries or its kind of model is not what it should be.
    """
    state = load_whole_checkpoint(checkpoint)
    class_of_model(checkpoint, state, ResDualTransformerModel, MODEL)
    overrides = {} if data is None else {"data": str(data)}
    try:
        models, _, _ = checkpoint_utils.load_model_ensemble_and_task(
            [str(checkpoint)], arg_overrides=overrides
        )
    except FileNotFoundError as error:
        raise ResDualError(
            f"{absence(error)}, or name the data-bin of the training with --data"
        ) from error
    return models[0].float()


def export(checkpoint: Path, out: Path, data: Optional[Path] = None, int8: bool = False) -> None:
    """Write the folder of a checkpoint's model, or nothing.

    Raises:
        ResDualError: as :func:`load` and :func:`write_model`, and where the folder holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ResDualError(f"{out} holds something already; remove it, or give another --out")
    model = load(checkpoint, data)
    with replacing(out) as unfinished:
        unfinished.mkdir(parents=True)
        write_model(model, unfinished, int8)


def parse_arguments(arguments: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="resdual-export", description="Write a translation model as ONNX files."
    )
    parser.add_argument("checkpoint", type=Path, help="written by fairseq-train")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; not there yet")
    parser.add_argument(
        "--data", type=Path, help="data-bin with the dictionaries (default: the training's)"
    )
    parser.add_argument(
        "--int8", action="store_true", help="weights in 8 bits (onnxruntime's dynamic form)"
    )
    add_user_dir(parser)
    return parser.parse_args(arguments)


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Entry point of the console script."""
    args = parse_arguments(arguments)
    import_user_dir(args.user_dir)
    export(args.checkpoint, args.out, args.data, args.int8)
    size = sum(path.stat().st_size for path in args.out.iterdir())
    print(f"wrote {args.out}, {size / 1e6:.1f} MB")
