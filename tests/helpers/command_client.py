"""Has a helpers/command_server.py run a command, with this process's standard files.

The standard library alone: it starts in a hundredth of a second. It stands in for an installed
script, too: ``python -S -E command_client.py SOCKET fairseq-train ...``.
"""

import json
import os
import socket
import sys
from typing import Mapping, Sequence


def ask(
    path: str, words: Sequence[str], folder: str, environment: Mapping[str, str],
    files: Sequence[int], seconds: float,
) -> int:  # fmt: skip
    """The exit status of a command; negative, as subprocess has it, where a signal ended it."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [b" "], list(files))
        connection.sendall(json.dumps([words, folder, dict(environment)]).encode() + b"\n")
        connection.settimeout(seconds)
        return int(connection.recv(10))


if __name__ == "__main__":
    sys.exit(ask(sys.argv[1], sys.argv[2:], os.getcwd(), os.environ, (0, 1, 2), 1200))
