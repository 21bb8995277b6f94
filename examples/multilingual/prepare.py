"""Prepare interface texts in many languages, each both ways to English, for fairseq-train.

The texts are those of the quickstart, from the `homeassistant` wheel. OUT then holds

  text/       clean text: en-XX/{train,valid,test}.{en,XX}
  tokenized/  the same in Moses tokens
  bpe/        the same in subwords; bpe.codes are the codes of all languages
  data-bin/   what fairseq-train reads, with one dictionary
  manifest.json  settings, counts, versions and checksums, written last

Run again after any interruption, the command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import wheel_texts
from common.command_line import exit_status, positive
from common.encode_pairs import encoding_steps, print_summary
from multilingual.split_languages import split
from resdual_fairseq.errors import ResDualError
from resdual_fairseq.preparation.clean_pairs import keep_good
from resdual_fairseq.preparation.languages import file_code
from resdual_fairseq.preparation.out_folder import SETTINGS, as_json, open_folder
from resdual_fairseq.preparation.run_steps import (
    alone,
    building,
    say,
    take_steps,
    write_lines,
    write_whole,
)
from resdual_fairseq.preparation.split_pairs import hold_out

# Raise this number whenever the same options would give other files than before.
RECIPE = 1
ENGLISH = "en"
LANGUAGES = ("cs", "de", "es", "fr", "hu", "pt", "sv", "tr")


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    command = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = command.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the result")
    add(
        "--languages",
        nargs="+",
        default=LANGUAGES,
        metavar="XX",
        help=f"beside English, as the wheel names them (default: {' '.join(LANGUAGES)})",
    )
    add("--wheel", type=Path, metavar="FILE", help="a wheel already on the disk")
    add("--cache", type=Path, metavar="DIR", help="where to keep a fetched wheel (default: --out)")
    add("--vocabulary", type=positive, default=8000, metavar="N", help="symbols of the joint BPE")
    add(
        "--held-out",
        nargs=2,
        type=positive,
        default=[60, 30],
        metavar=("TEST", "VALID"),
        help="integrations held out of every language (default: 60 30)",
    )
    add(
        "--most-lines",
        nargs=2,
        type=positive,
        default=[300, 100],
        metavar=("TEST", "VALID"),
        help="lines that test and validation keep of each language, at most (default: 300 100)",
    )
    add("--seed", type=int, default=42, help="decides what is held out (default: 42)")
    add("--force", action="store_true", help="remove what --out holds of a former preparation")
    return command


def check_languages(languages: Sequence[str]) -> None:
    """Raise ResDualError for languages that make no pairs with English."""
    for language in languages:
        if not re.fullmatch(r"[A-Za-z][\w-]*", language) or language == ENGLISH:
            raise ResDualError(
                f"--languages: '{language}' makes no pair with English; give codes such as de"
            )
        if list(languages).count(language) > 1:
            raise ResDualError(f"--languages: '{language}' twice; give it once")


def make_text(options: argparse.Namespace, settings: dict[str, Any], text: Path) -> None:
    """Write the clean text of every language and split, and a report.

    Raises ResDualError when a split of a language would be empty.
    """
    wheel = options.wheel or wheel_texts.fetch((options.cache or options.out).absolute())
    kept, dropped = {}, {}
    for language in options.languages:
        say(f"reading {ENGLISH}-{language}")
        kept[language], dropped[language] = keep_good(wheel_texts.read(wheel, ENGLISH, language))
    held_out = hold_out(chain(*kept.values()), *settings["held_out"], settings["seed"])
    test, valid = settings["most_lines"]
    splits = split(kept, held_out, {"test": test, "valid": valid})
    with building(text) as folder:
        for language, parts in splits.items():
            pair = folder / f"{ENGLISH}-{file_code(language)}"
            pair.mkdir()
            for name, part in parts.items():
                if not part:
                    raise ResDualError(
                        f"no line is left for {name} of {language}; give another --held-out, or "
                        "leave the language out"
                    )
                write_lines(pair / f"{name}.{ENGLISH}", [line.source for line in part])
                write_lines(pair / f"{name}.{file_code(language)}", [line.target for line in part])
        write_lines(folder / "report.json", [as_json({"dropped": dropped, "held_out": held_out})])
        write_whole(text.with_name(SETTINGS), as_json(settings))


def prepare(options: argparse.Namespace) -> None:
    """Check the options, then take every step that is not done."""
    check_languages(options.languages)
    if options.wheel:
        wheel_texts.check_given(options.wheel)
    out = options.out
    settings = {
        "recipe": RECIPE,
        "languages": list(options.languages),
        "vocabulary": options.vocabulary,
        "held_out": options.held_out,
        "most_lines": options.most_lines,
        "seed": options.seed,
        "wheel_sha256": wheel_texts.WHEEL_SHA256,
    }
    pairs = {f"{ENGLISH}-{file_code(x)}": (ENGLISH, file_code(x)) for x in options.languages}
    with alone(out / ".lock"):
        open_folder(out, settings, options.force)
        text = out / "text"
        steps = [
            (text, lambda: make_text(options, settings, text)),
            *encoding_steps(out, pairs, options.vocabulary, settings),
        ]
        if not take_steps(steps):
            say(f"already prepared with these settings: {out / 'data-bin'}")
        print_summary(out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    options.out = options.out.absolute()
    return exit_status("prepare.py", lambda: prepare(options))


if __name__ == "__main__":
    sys.exit(main())
