"""Protects how recipes get raw files and lines: mirrors, checksums, broken files."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from fairseq.data import Dictionary
from helpers.recipes import as_text, write_tar

from common import encode_pairs, raw_files, raw_formats
from resdual_fairseq.errors import ResDualError

CONTENT = bytes(range(256)) * 40


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT, under /cut all but its end, under /none nothing."""

    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/none/"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:-100] if self.path.startswith("/cut/") else CONTENT)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(raw_files, "RETRIES", 0)
    Server.asked.clear()
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def files(address: str, content: bytes = CONTENT) -> dict[str, raw_files.RawFile]:
    checksum = hashlib.sha256(content).hexdigest()
    return {
        "known": raw_files.RawFile(f"{address}/known.bin", checksum),
        "unknown": raw_files.RawFile(f"{address}/unknown.bin"),
    }


@pytest.mark.parametrize("mirror", [None, "/mirror", "/mirror/"])
def test_files_are_fetched_once(mirror: str | None, address: str, tmp_path: Path) -> None:
    (tmp_path / "known.bin").write_bytes(b"broken")
    place = None if mirror is None else address + mirror
    for _ in range(2):
        found = raw_files.fetched(files(address), tmp_path, place)
        assert {path.read_bytes() for path in found.values()} == {CONTENT}
    folder = "" if mirror is None else "/mirror"
    assert Server.asked == [f"{folder}/known.bin", f"{folder}/unknown.bin"]
    assert {path.name for path in tmp_path.iterdir()} == {"known.bin", "unknown.bin"}


@pytest.mark.parametrize("where", ["/none", "/cut", "nonsense://x", "http://127.0.0.1:1"])
def test_what_cannot_be_fetched(where: str, address: str, tmp_path: Path) -> None:
    mirror = f"{address}{where}" if where.startswith("/") else where
    with pytest.raises(ResDualError, match=r"cannot be fetched \(.+\); run again") as told:
        raw_files.fetched(files(address), tmp_path, mirror)
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []
    assert raw_files.fetched(files(address), tmp_path, None)["known"].read_bytes() == CONTENT


def test_another_file_than_the_recipes_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(ResDualError, match=r"cannot be fetched \(.*does not match the known hash"):
        raw_files.fetched(files(address, b"other"), tmp_path, None)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ResDualError, match=r"no known\.bin in it; put it there"):
        raw_files.in_folder(files(address), tmp_path)
    for name in ("known", "unknown"):
        (tmp_path / f"{name}.bin").write_bytes(b"broken")
    with pytest.raises(ResDualError, match="put the right one into"):
        raw_files.in_folder(files(address), tmp_path)
    (tmp_path / "known.bin").write_bytes(CONTENT)
    assert raw_files.in_folder(files(address), tmp_path)["known"] == tmp_path / "known.bin"
    with pytest.raises(ResDualError, match="there is no such folder"):
        raw_files.in_folder(files(address), tmp_path / "none")


def test_lines_of_a_gzip_file(tmp_path: Path) -> None:
    path = tmp_path / "lines.gz"
    path.write_bytes(gzip.compress("one\u2028still one\r\n two \n".encode()))
    assert raw_formats.gzip_lines(path) == ["one still one", "two"]
    path.write_bytes(gzip.compress(b"long " * 999)[:-20])
    with pytest.raises(ResDualError, match="is cut short or no gzip file; fetch it anew"):
        raw_formats.gzip_lines(path)
    path.write_bytes(gzip.compress(b"\xff\xfe"))
    with pytest.raises(ResDualError, match="is not UTF-8 text"):
        raw_formats.gzip_lines(path)


def test_members_of_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "texts.tgz"
    write_tar(path, {"deep/a.en": as_text(["one"]), "a.de": as_text(["eins"]), "xa.de": b""})
    assert raw_formats.members(path, ["a.en", "a.de"]) == {"a.en": ["one"], "a.de": ["eins"]}
    with pytest.raises(ResDualError, match=r"holds no a\.fr; fetch it anew"):
        raw_formats.members(path, ["a.en", "a.fr"])
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ResDualError, match="is cut short or no archive"):
        raw_formats.members(path, ["a.de"])


def test_markup_goes_and_sentences_stay() -> None:
    assert raw_formats.segments(['<seg id="1"> A &amp; b </seg> <seg id="2">c</seg>', "<p>"]) == [
        "A & b",
        "c",
    ]
    talk = ["<url>x</url>", "<title>On doors</title>", "They open.", "<keywords>k</keywords>"]
    assert raw_formats.talk_lines(talk) == ["On doors", "They open."]


def test_sides_of_unlike_length_are_named() -> None:
    with pytest.raises(ResDualError, match="dev has 2 lines on one side and 1 on the"):
        raw_formats.pair_lines(["a", "b"], ["c"], "dev")


def test_the_dictionary_is_fairseqs(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("the the@@ door\n")
    (tmp_path / "b").write_text("the a a\n")
    lines = encode_pairs.dictionary_lines([tmp_path / "a", tmp_path / "b"])
    assert lines == ["a 2", "the 2", "door 1", "the@@ 1"]
    (tmp_path / "dict.txt").write_text("".join(f"{line}\n" for line in lines))
    assert Dictionary.load(str(tmp_path / "dict.txt")).symbols[4:] == ["a", "the", "door", "the@@"]
