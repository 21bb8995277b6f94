"""From clean lines to what fairseq-train reads: Moses tokens, joint BPE, binarized data.

The tokenizer is fairseq's own with its defaults and the BPE has no vocabulary filter, so that
`--tokenizer moses --bpe subword_nmt --bpe-codes OUT/bpe.codes` of fairseq-interactive and
fairseq-generate encodes and decodes exactly as the training data was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import ResDualError
from .run_steps import TEMPORARY, building, read_lines, run, say, tool, write_lines
from .split_pairs import SPLITS


def tokenize(text: Path, tokenized: Path, languages: Sequence[str]) -> None:
    """Write every split of the folder `text` in Moses tokens under the same name.

    Raises:
        ResDualError: sacremoses is not installed.
    """
    with building(tokenized) as folder:
        for language in languages:
            encode = moses_encoder(language)
            for split in SPLITS:
                name = f"{split}.{language}"
                lines = read_lines(text / name)
                say(f"tokenizing {name}: {len(lines):,} lines")
                write_lines(folder / name, [encode(line) for line in lines])


def moses_encoder(language: str) -> Callable[[str], str]:
    """From a line to its Moses tokens, by fairseq's tokenizer.

    Raises:
        ResDualError: sacremoses, which it calls, is not installed.
    """
    # fairseq loads all its tokenizers with this one, which the other steps do not need.
    from fairseq.data.encoders.moses_tokenizer import MosesTokenizer, MosesTokenizerConfig

    try:
        moses = MosesTokenizer(MosesTokenizerConfig(source_lang=language, target_lang=language))
    except ImportError as error:
        raise ResDualError(
            "the Moses tokenizer needs a package that is not installed: pip install sacremoses, "
            "then run this command again"
        ) from error
    return moses.encode


def check_vocabulary(files: Sequence[Path], vocabulary: int) -> None:
    """Check that subwords fit into the vocabulary beside the single characters of the files.

    Raises:
        ResDualError: they do not.
    """
    symbols: set[str] = set()
    for path in files:
        for word in set(path.read_text(encoding="utf-8").split()):
            # BPE keeps a character inside a word apart from the same one at its end.
            symbols.update(word[:-1])
            symbols.add(word[-1] + "</w>")
    if vocabulary <= len(symbols):
        raise ResDualError(
            f"--vocabulary {vocabulary} leaves no room to learn subwords, since the text has "
            f"{len(symbols)} different characters: give more, with --force"
        )


def learn_bpe(tokenized: Path, codes: Path, languages: Sequence[str], vocabulary: int) -> None:
    """Learn one BPE for both languages, of about `vocabulary` symbols, on the training lines.

    Raises:
        ResDualError: the vocabulary has no room for more than single characters.
    """
    learn_bpe_of([tokenized / f"train.{language}" for language in languages], codes, vocabulary)


def learn_bpe_of(training: Sequence[Path], codes: Path, vocabulary: int) -> None:
    """Learn one BPE on these files, of about `vocabulary` symbols.

    Raises:
        ResDualError: the vocabulary has no room for more than single characters.
    """
    check_vocabulary(training, vocabulary)
    partial = codes.with_name(codes.name + TEMPORARY)
    command = [tool("subword-nmt"), "learn-joint-bpe-and-vocab", "--total-symbols"]
    command += ["--symbols", str(vocabulary), "--input", *map(str, training)]
    # The tool insists on lists of the vocabulary; nothing reads them, since every subword is kept.
    command += ["--output", str(partial), "--write-vocabulary", *[os.devnull] * len(training)]
    run(command, partial)
    os.replace(partial, codes)


def apply_bpe(tokenized: Path, bpe: Path, codes: Path, languages: Sequence[str]) -> None:
    """Write every split of the folder `tokenized` in subwords under the same name."""
    apply = [tool("subword-nmt"), "apply-bpe", "--codes", str(codes)]
    with building(bpe) as folder:
        for language in languages:
            for split in SPLITS:
                name = f"{split}.{language}"
                files = ["--input", str(tokenized / name), "--output", str(folder / name)]
                run([*apply, *files], folder)


def binarize(bpe: Path, data_bin: Path, languages: Sequence[str]) -> None:
    """Write the folder that fairseq-train reads, with one dictionary for both languages."""
    with building(data_bin) as folder:
        binarize_into(folder, bpe, languages, "--joined-dictionary")


def binarize_into(folder: Path, bpe: Path, languages: Sequence[str], *dictionaries: str) -> None:
    """Add one pair of languages to a folder being built; `dictionaries` are fairseq's options."""
    source, target = languages
    command = [tool("fairseq-preprocess"), "--source-lang", source, "--target-lang", target]
    for split in SPLITS:
        command += [f"--{split}pref", str(bpe / split)]
    command += ["--destdir", str(folder), *dictionaries, "--workers", "1"]
    run(command, folder)
