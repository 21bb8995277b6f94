"""`resdual-export --int8`: onnxruntime's dynamic form of 8 bits in a graph's place."""

from pathlib import Path

from ..files import replacing


def round_weights(path: Path) -> None:
    """Round embeddings and the weights of matrix products; the other factor is rounded as it comes.

    Args:
        path: an ONNX file, replaced by its rounded form.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Seven bits of weights: processors without VNNI add products in 16 bits, which overflow
    # silently with eight.
    with replacing(path) as rounded:
        quantize_dynamic(
            path, rounded, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True
        )
