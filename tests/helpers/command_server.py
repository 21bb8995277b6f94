"""Runs console commands in forks of one process that has imported torch and fairseq.

Most of the time of a small fairseq command is spent in its imports. This program makes them once;
for every connection to its socket it forks a child which calls the command's entry point with the
words, folder, environment and standard files of helpers/command_client.py, as the installed script
would, and answers with the child's status. Neither the plugin nor a module of fairseq's command
line is imported before the fork: what these do as they are imported happens in the child. Some of
them set up logging before they import fairseq, which is otherwise set up by fairseq's own modules.

    python command_server.py DESCRIPTOR     of a listening socket; until its standard input ends
"""

import atexit
import json
import logging
import os
import select
import signal
import socket
import sys
import threading
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Callable, List

PRELOADED = ("fairseq.tasks", "fairseq.models", "fairseq.trainer", "fairseq.sequence_generator")


def entry_point(name: str) -> Callable[[], Any]:
    """What the installed script of this name calls, with logging as its import leaves it."""
    of_fairseq, level = logging.root.handlers[:], logging.root.level
    logging.root.handlers.clear()
    command = load(name)
    if not logging.root.handlers:
        logging.root.handlers += of_fairseq
        logging.root.setLevel(level)
    return command


def load(name: str) -> Callable[[], Any]:
    for distribution in metadata.distributions():
        for point in distribution.entry_points:
            if (point.group, point.name) == ("console_scripts", name):
                return point.load()
    raise SystemExit(f"{name} is not installed")


def serve(connection: socket.socket) -> None:
    """Run one command in a child, and answer with its status."""
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    words, folder, environment = json.loads(connection.makefile().readline())
    child = os.fork()
    if child == 0:
        connection.close()
        for given, standard in zip(files, (0, 1, 2)):
            os.dup2(given, standard)
            os.close(given)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        os._exit(status_of(words))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.sendall(str(status).encode())


def status_of(words: List[str]) -> int:
    """Call the command as the interpreter would call its script, and end as it would."""
    sys.argv = words
    status = 0
    try:
        status = exit_status(entry_point(words[0])())
        threading._shutdown()  # type: ignore[attr-defined]
    except SystemExit as end:
        status = exit_status(end.code)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def exit_status(code: Any) -> int:
    """As sys.exit understands it: nothing, a number, or a message."""
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1


def main(descriptor: int) -> None:
    sys.path[0] = str(Path(sys.executable).parent)  # as a script has it
    listening = socket.socket(fileno=descriptor)
    for name in PRELOADED:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # Commands wait for others that they start themselves: each connection has a process.
    while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
        connection, _ = listening.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            serve(connection)
            os._exit(0)
        connection.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
