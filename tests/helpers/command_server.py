"""Runs console commands in forks of one process that has imported torch and fairseq.

Most of the time of a small fairseq command is spent in its imports. This program makes them once;
for every line of its standard input, a request, it forks a child which calls the command's entry
point with the request's words, folder, environment and files, as the installed script would, and
answers with the child's status. Neither the plugin nor a module of fairseq's command line is
imported before the fork: what these do as they are imported happens in the child. Some of them set
up logging before they import fairseq, which is otherwise set up by fairseq's own modules.

    {"words": [...], "cwd": "...", "environment": {...}, "input": "file", "output": "file"}
"""

import atexit
import json
import logging
import os
import sys
import threading
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Callable, Dict, List

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


def serve(request: Dict[str, Any]) -> int:
    """The status of one command, run in a child."""
    child = os.fork()
    if child == 0:
        take_place(request)
        os._exit(status_of(request["words"]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def take_place(request: Dict[str, Any]) -> None:
    """Make this process what the request asks for."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    given = os.open(request["input"], os.O_RDONLY)
    printed = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for ours, standard in ((given, 0), (printed, 1), (printed, 2)):
        os.dup2(ours, standard)


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


def main() -> None:
    sys.path[0] = str(Path(sys.executable).parent)  # as a script has it
    for name in PRELOADED:
        import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    requests = os.fdopen(os.dup(0), "r")
    for line in requests:
        print(serve(json.loads(line)), file=answers, flush=True)


if __name__ == "__main__":
    main()
