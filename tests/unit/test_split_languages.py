"""Protects the split of many languages: no test line stands in any language's training text."""

from __future__ import annotations

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from multilingual import split_languages
from resdual_fairseq.preparation import split_pairs
from resdual_fairseq.preparation.clean_pairs import Pair

LANGUAGES = ("de", "fr", "it")
TEXTS = st.lists(
    st.tuples(
        st.sampled_from([f"room{n}" for n in range(8)]),
        st.sampled_from(["open the door", "Open the door!", "a red light", "the old one is on"]),
        st.integers(0, 5),
    ),
    max_size=40,
)


def split(texts: dict[str, list[object]]) -> tuple[dict[str, list[str]], dict[str, object]]:
    held_out = split_pairs.hold_out(chain(*texts.values()), 3, 2, seed=1)
    return held_out, split_languages.split(texts, held_out, {"test": 5, "valid": 4})


@given(st.fixed_dictionaries({language: TEXTS for language in LANGUAGES}))
def test_what_is_held_out_is_held_out_of_all(raw: dict[str, list[tuple[str, str, int]]]) -> None:
    texts = {
        language: [Pair(group, english, f"{language} {n} {english}") for group, english, n in rows]
        for language, rows in raw.items()
    }
    held_out, parts = split(texts)
    training = {
        split_pairs.key(side)
        for language in LANGUAGES
        for pair in parts[language]["train"]
        for side in pair[1:]
    }
    validation = {
        split_pairs.key(side)
        for language in LANGUAGES
        for pair in parts[language]["valid"]
        for side in pair[1:]
    }
    for language in LANGUAGES:
        assert len(parts[language]["test"]) <= 5
        assert len(parts[language]["valid"]) <= 4
        for pair in parts[language]["train"]:
            assert pair.group not in held_out["test"] + held_out["valid"]
        for pair in parts[language]["valid"]:
            assert pair.group in held_out["valid"]
            assert not {split_pairs.key(side) for side in pair[1:]} & training
        for pair in parts[language]["test"]:
            assert pair.group in held_out["test"]
            assert not {split_pairs.key(side) for side in pair[1:]} & (training | validation)


def test_languages_keep_the_same_english_lines() -> None:
    lines = [f"the door number {n} is open" for n in range(40)]
    texts = {
        language: [Pair("room", line, f"{language} {line}") for line in order]
        for language, order in (("de", lines), ("fr", lines[::-1]))
    }
    parts = split_languages.split(texts, {"test": ["room"]}, {"test": 7, "valid": 7})
    kept = [[pair.source for pair in parts[language]["test"]] for language in ("de", "fr")]
    assert kept[0] == kept[1]
    assert len(kept[0]) == 7
