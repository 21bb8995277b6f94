"""Translation models as functions of tensors, for ONNX."""
