"""Protects which texts the quickstart takes from the wheel, cleans away and holds out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.quickstart import make_wheel, many_integrations
from hypothesis import given
from hypothesis import strategies as st

from common import interface_texts, wheel_texts
from resdual_fairseq.preparation import clean_pairs, split_pairs
from resdual_fairseq.preparation.clean_pairs import Pair


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("Open\n\n  the **door**", "Öffne die\tTür", ("Open the door", "Öffne die Tür")),
        (
            "See [the docs]({docs_url}) for `{entity_id}`",
            "Für {entity_id} siehe [die Doku]({docs_url})",
            ("See the docs for {1}", "Für {1} siehe die Doku"),
        ),
        ("Move {a_b} to {c}", "Nach {c} bewege {a_b}", ("Move {1} to {2}", "Nach {2} bewege {1}")),
        (
            "%{count} <b>new</b><br>files",
            "%{count} neue Dateien",
            ("{1} new files", "{1} neue Dateien"),
        ),
        ("# Title\n- one\n* two", "Titel", ("Title one two", "Titel")),
        ("It is *not* 2 * 3 < 4", "x", ("It is not 2 * 3 < 4", "x")),
        ("Run:\n```yaml\n{code}\n```", "x", ("Run: {1}", "x")),
        ("soft\u00adhy\u200bphen\x07 bell\u2028line", "x", ("softhyphen bell line", "x")),
    ],
)
def test_interface_texts_become_plain(source: str, target: str, expected: tuple[str, str]) -> None:
    assert interface_texts.plain(source, target) == expected


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("Open the door", "Öffne die Tür", None),
        ("", "Tür", "no words"),
        ("{1}: 50 %", "{1}: 50 %", "no words"),
        ("Status", "Status", "identical"),
        ("Use http://example.org", "Benutze http://example.org", "address"),
        ("[%key:common::state::on%]", "an", "address"),
        ("Open {1}", "Öffne {2}", "placeholders differ"),
        ("Open {1} and {1}", "Öffne {1}", "placeholders differ"),
        ("no " * 81, "nein " * 80, "too long"),
        ("no " * 80, "nein " * 80, None),
        ("x" * 601, "y" * 600, "too long"),
        ("a", "b" * 24, None),
        ("a", "b" * 25, "length ratio"),
        ("Turn the whole lamp off now", "关灯", None),
    ],
)
def test_only_good_pairs_stay(source: str, target: str, reason: str | None) -> None:
    assert clean_pairs.reason_to_drop(source, target) == reason


def test_drops_are_counted_by_reason() -> None:
    pairs = [Pair("g", "On", "On"), Pair("g", "Open", "Auf"), Pair("g", "Up", "Up")]
    assert clean_pairs.keep_good(pairs) == ([pairs[1]], {"identical": 2})


def test_texts_are_aligned_by_key(tmp_path: Path) -> None:
    wheel = make_wheel(
        tmp_path / "w.whl",
        {
            "sun/en": {"a": {"x": "One", "only_en": "Gone"}, "b": "Two", "n": 3},
            "sun/de": {"b": "Zwei", "a": {"x": "Eins", "only_de": "Weg"}, "n": 3},
            "moon/en": {"a": "No German file"},
            "moon/fr": {"a": "Pas de fichier allemand"},
        },
    )
    expected = [Pair("sun", "One", "Eins"), Pair("sun", "Two", "Zwei")]
    assert wheel_texts.read(wheel, "en", "de") == expected


def test_order_in_the_wheel_does_not_matter(tmp_path: Path) -> None:
    texts = many_integrations(5)
    forward = make_wheel(tmp_path / "a.whl", texts)
    backward = make_wheel(tmp_path / "b.whl", texts, backwards=True)
    assert wheel_texts.read(forward, "en", "de") == wheel_texts.read(backward, "en", "de")


WORDS = st.lists(st.sampled_from(["on", "off", "On!", "lamp", "{1}"]), min_size=1, max_size=4)
PAIRS = st.lists(
    st.builds(Pair, st.sampled_from("abcdefgh"), WORDS.map(" ".join), WORDS.map(" ".join)),
    max_size=60,
)


@given(PAIRS, st.integers(0, 3), st.integers(0, 3), st.integers(0, 99))
def test_held_out_lines_are_unseen(pairs: list[Any], test: int, valid: int, seed: int) -> None:
    held_out = split_pairs.hold_out(pairs, test, valid, seed)
    parts = split_pairs.split(pairs, held_out)
    keys = {name: [split_pairs.key(p.source) for p in part] for name, part in parts.items()}
    assert not set(keys["test"]) & set(keys["train"] + keys["valid"])
    assert not set(keys["valid"]) & set(keys["train"])
    for name in ("test", "valid"):
        assert len(set(keys[name])) == len(keys[name])
        assert all(len(pair.source.split()) >= 3 for pair in parts[name])
        assert {pair.group for pair in parts[name]} <= set(held_out[name])
    away = {*held_out["test"], *held_out["valid"]}
    training = [(pair.source, pair.target) for pair in parts["train"]]
    assert len(set(training)) == len(training)
    assert set(training) == {(p.source, p.target) for p in pairs if p.group not in away}


def test_groups_are_held_out_by_seed_alone() -> None:
    pairs = {Pair(f"g{i}", "s", "t") for i in range(30)}  # in an order of this process's own
    expected = {"test": ["g13", "g22", "g26"], "valid": ["g17", "g25"]}
    assert split_pairs.hold_out(pairs, 3, 2, 42) == expected


def test_words_of_chinese_are_its_characters() -> None:
    assert split_pairs.words("打开 the lamp") == 4
