"""Entry point of torch.hub: ``torch.hub.load(REPOSITORY, "resdual_transformer", FOLDER, ...)``."""

from typing import Any

dependencies = ["torch", "fairseq"]


def resdual_transformer(model_path: str, **kwargs: Any) -> Any:
    """A trained model, ready to translate.

    Args:
        model_path: folder of the checkpoint.
        kwargs: those of ``from_pretrained``: ``checkpoint_file``, ``data_name_or_path``,
            ``tokenizer``, ``bpe``, ``bpe_codes``, ...

    Returns:
        fairseq's ``GeneratorHubInterface``, with ``translate``.
    """
    from resdual_fairseq.transformer import ResDualTransformerModel

    return ResDualTransformerModel.from_pretrained(model_path, **kwargs)


def resdual_transformer_lm(model_path: str, **kwargs: Any) -> Any:
    """A trained language model, ready to score and to sample.

    Args:
        model_path: folder of the checkpoint.
        kwargs: those of ``from_pretrained``, as above.

    Returns:
        fairseq's ``GeneratorHubInterface``, with ``sample`` and ``score``.
    """
    from resdual_fairseq.language_model import ResDualLanguageModel

    return ResDualLanguageModel.from_pretrained(model_path, **kwargs)
