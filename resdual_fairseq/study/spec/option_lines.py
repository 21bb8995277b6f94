"""Lines of fairseq's options in a spec: what they may not hold, since the study sets it itself."""

import shlex
from typing import Any

SET_BY_THE_STUDY = {
    **dict.fromkeys(
        ("--seed", "--max-update", "--max-epoch", "--stop-time-hours"), "seeds, budgets"
    ),
    **dict.fromkeys(("--lr-scheduler", "--total-num-update", "--force-anneal"), "budgets"),
    **dict.fromkeys(("--encoder-layers", "--decoder-layers"), "depths"),
    **dict.fromkeys(("--encoder-embed-dim", "--decoder-embed-dim"), "widths"),
    **dict.fromkeys(("--decoder-input-dim", "--decoder-output-dim"), "widths"),
    **dict.fromkeys(("--encoder-ffn-embed-dim", "--decoder-ffn-embed-dim"), "widths"),
    **dict.fromkeys(("--encoder-attention-heads", "--decoder-attention-heads"), "widths"),
    **dict.fromkeys(("--task", "--source-lang", "--target-lang", "-s", "-t"), "task, data"),
    **dict.fromkeys(("--save-dir", "--restore-file", "--log-format", "--log-interval"), "folder"),
    **dict.fromkeys(("--save-interval-updates", "--keep-interval-updates"), "save_interval"),
    **dict.fromkeys(
        ("--finetune-from-model", "--log-file", "--patience", "--stop-min-lr"), "budgets"
    ),
    **dict.fromkeys(("--path", "--results-path", "--gen-subset"), "arms"),
    "--user-dir": "arms: NAME: {options: ..., user_dir: FOLDER}",
    **dict.fromkeys(("--train-subset", "--valid-subset"), "data"),
    **dict.fromkeys(("--disable-validation", "--no-save", "--no-last-checkpoints"), "folder"),
    "--no-save-optimizer-state": "budgets",
    "--distributed-world-size": "docs/study.md: a worker trains on one GPU",
    **dict.fromkeys(("--reset-optimizer", "--reset-dataloader", "--reset-meters"), "budgets"),
}
"""Options of fairseq's that the study gives itself, and the keys of the file they come from."""
CONTEXT = ("--tokens-per-sample", "--sample-break-mode")
"""Options that decide what a language model sees before a token, and so what its loss is."""
SIZE_OF_UPDATES = (
    *("--max-tokens", "--batch-size", "--update-freq", "--max-sentences"),
    *CONTEXT,
)
"""Options that decide how much an update learns from."""
ALIKE_FOR_ALL = (
    *(*SIZE_OF_UPDATES, "--criterion", "--label-smoothing"),
    *("--max-source-positions", "--max-target-positions", "--skip-invalid-size-inputs-valid-test"),
    *("--upsample-primary", "--curriculum", "--truncate-source", "--num-batch-buckets"),
    *("--max-tokens-valid", "--batch-size-valid", "--load-alignments", "--prepend-bos"),
    *("--ignore-prefix-size", "--max-valid-steps", "--add-bos-token", "--shorten-method"),
    *("--self-target", "--past-target", "--future-target", "--output-dictionary-size"),
)
"""Options that decide what a loss or an update is, or which sentences there are and in which order;
they belong to training, not to an arm."""


def words_of(text: Any) -> Any:
    """The words of a line of options, or of a list of them.

    Raises:
        ValueError: it cannot be split, or has an option that the study sets.
    """
    try:
        words = shlex.split(text) if isinstance(text, str) else text
    except ValueError as error:
        raise ValueError(f"'{text}' cannot be read as options: {error}") from error
    for word in map(str, words) if isinstance(words, list) else ():
        name = word.split("=")[0]
        if name in SET_BY_THE_STUDY:
            raise ValueError(
                f"{name} is set by the study itself; leave it out (see {SET_BY_THE_STUDY[name]})"
            )
    return words


def number(value: Any) -> Any:
    """A number where the text is one, so that 1e-3 and 0.001 are the same run."""
    try:
        return float(value) if not isinstance(value, int) else value
    except ValueError:
        return value


def is_share(name: str) -> bool:
    """Whether an option takes a probability, or another share of 1."""
    return name.endswith(("dropout", "layerdrop", "label-smoothing"))
