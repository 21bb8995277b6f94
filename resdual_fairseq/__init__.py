"""ResiDual, the Transformer with dual residual connections, as a plugin of fairseq.

``fairseq-train --user-dir resdual_fairseq --arch resdual_transformer`` imports this package, which
registers the models and their presets.
"""

import logging

# It asks for a package that none of these models needs.
logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)

from . import compat, errors  # noqa: E402
from .checkpoints import loading, resuming  # noqa: E402
from .training import divergence, left_out  # noqa: E402

__version__ = "0.1.0"

divergence.name_blocks_of_diverged_runs()
errors.show_errors_as_sentences()
compat.check_versions()
loading.trust_checkpoint_options()
loading.explain_broken_checkpoints()
resuming.watch_resumed_runs()
left_out.warn_of_sentences_left_out()

from . import architectures, language_model, transformer  # noqa: E402
from .training import optimizer  # noqa: E402

compat.offer_in_help(transformer.ResDualTransformerModel.add_args)

__all__ = ["__version__", "architectures", "language_model", "optimizer", "transformer"]
