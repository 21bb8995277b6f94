"""Protects how recipes get raw files and lines: resume, mirrors, checksums, broken files."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from helpers.recipes import as_text, write_tar

from common import encode_pairs, fetch, raw_formats, run_steps

CONTENT = bytes(range(256)) * 40


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT as /whole, all but its end as /cut, nothing else; knows ranges."""

    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.asked.append(f"{self.path} from {start}")
        if self.path not in ("/whole.bin", "/cut/whole.bin"):
            self.send_error(404)
            return
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = len(CONTENT) if self.path == "/whole.bin" else start + 100
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture()
def address() -> Iterator[str]:
    Server.asked.clear()
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def file(address: str, content: bytes = CONTENT) -> object:
    return fetch.RawFile(f"{address}/whole.bin", hashlib.sha256(content).hexdigest())


def test_a_file_is_fetched_once(address: str, tmp_path: Path) -> None:
    for _ in range(2):
        path = fetch.obtain(file(address), tmp_path, None, None)
        assert path.read_bytes() == CONTENT
    assert Server.asked == ["/whole.bin from 0"]
    assert [path.name for path in tmp_path.iterdir()] == ["whole.bin"]


def test_a_download_that_breaks_off_goes_on(address: str, tmp_path: Path) -> None:
    with pytest.raises(run_steps.PrepareError, match=r"cannot be fetched .*run again to go on"):
        fetch.obtain(file(address), tmp_path, f"{address}/cut/", None)
    assert not (tmp_path / "whole.bin").exists()
    assert fetch.obtain(file(address), tmp_path, None, None).read_bytes() == CONTENT
    assert Server.asked == ["/cut/whole.bin from 0", "/whole.bin from 100"]


def test_a_download_that_was_whole_but_for_its_name(address: str, tmp_path: Path) -> None:
    (tmp_path / "whole.bin.part").write_bytes(CONTENT)
    assert fetch.obtain(file(address), tmp_path, None, None).read_bytes() == CONTENT


def test_another_file_than_the_recipes_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(run_steps.PrepareError, match="is not the file that this recipe was"):
        fetch.obtain(file(address, b"other"), tmp_path, None, None)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "whole.bin").write_bytes(b"broken")
    with pytest.raises(run_steps.PrepareError, match="put the right one into"):
        fetch.obtain(file(address), tmp_path, None, tmp_path)
    with pytest.raises(run_steps.PrepareError, match=r"no whole\.bin in it; put it there"):
        fetch.obtain(file(address), tmp_path, None, tmp_path / "none")


@pytest.mark.parametrize("where", ["/none", "nonsense://x", "http://127.0.0.1:1"])
def test_an_address_that_does_not_answer(where: str, address: str, tmp_path: Path) -> None:
    mirror = f"{address}{where}" if where.startswith("/") else where
    with pytest.raises(
        run_steps.PrepareError, match=r"cannot be fetched \(.+\); run again"
    ) as told:
        fetch.obtain(file(address), tmp_path, mirror, None)
    assert "\n" not in str(told.value)


def test_lines_of_a_gzip_file(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "lines.gz"
    path.write_bytes(gzip.compress("one\u2028still one\r\n two \n".encode()))
    assert raw_formats.gzip_lines(path) == ["one still one", "two"]
    path.write_bytes(gzip.compress(b"long " * 999)[:-20])
    with pytest.raises(run_steps.PrepareError, match="is cut short or no gzip file; fetch it anew"):
        raw_formats.gzip_lines(path)
    path.write_bytes(gzip.compress(b"\xff\xfe"))
    with pytest.raises(run_steps.PrepareError, match="is not UTF-8 text"):
        raw_formats.gzip_lines(path)


def test_members_of_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "texts.tgz"
    write_tar(path, {"deep/a.en": as_text(["one"]), "a.de": as_text(["eins"]), "xa.de": b""})
    assert raw_formats.members(path, ["a.en", "a.de"]) == {"a.en": ["one"], "a.de": ["eins"]}
    with pytest.raises(run_steps.PrepareError, match=r"holds no a\.fr; fetch it anew"):
        raw_formats.members(path, ["a.en", "a.fr"])
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(run_steps.PrepareError, match="is cut short or no archive"):
        raw_formats.members(path, ["a.de"])


def test_markup_goes_and_sentences_stay() -> None:
    assert raw_formats.segments(['<seg id="1"> A &amp; b </seg> <seg id="2">c</seg>', "<p>"]) == [
        "A & b",
        "c",
    ]
    talk = ["<url>x</url>", "<title>On doors</title>", "They open.", "<keywords>k</keywords>"]
    assert raw_formats.talk_lines(talk) == ["On doors", "They open."]


def test_sides_of_unlike_length_are_named() -> None:
    with pytest.raises(run_steps.PrepareError, match="dev has 2 lines on one side and 1 on the"):
        raw_formats.pair_lines(["a", "b"], ["c"], "dev")


def test_the_dictionary_is_fairseqs(tmp_path: Path) -> None:
    from fairseq.data import Dictionary

    (tmp_path / "a").write_text("the the@@ door\n")
    (tmp_path / "b").write_text("the a a\n")
    lines = encode_pairs.dictionary_lines([tmp_path / "a", tmp_path / "b"])
    assert lines == ["a 2", "the 2", "door 1", "the@@ 1"]
    (tmp_path / "dict.txt").write_text("".join(f"{line}\n" for line in lines))
    assert Dictionary.load(str(tmp_path / "dict.txt")).symbols[4:] == ["a", "the", "door", "the@@"]
