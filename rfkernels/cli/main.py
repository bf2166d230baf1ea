"""`rfkernels`: the entry point. Each command stands in a file of its own and is imported when it is called."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import rfkernels
from rfkernels.cli.terminal import printable
from rfkernels.errors import RfkernelsError

EXIT_ERROR = 2

_COMMANDS = {
    "infer": "run a model on images and print the V2 response",
    "build": "make a portable .onnx model from YOLOv8 weights",
    "info": "what this machine has, or what is in a model",
    "bench": "time the ops or the whole pipeline",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The process's exit code: 0, or 2 after an error, of which one line on standard error says what to do.
    """
    parser = _make_parser()
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        # argparse's own words for it, but with the help of the command that does not know them.
        parser.prog += f" {parsed.command}"
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        module = importlib.import_module(f"rfkernels.cli.{parsed.command}")
        if sys.stdout is None:
            raise OSError("standard output is closed; send it to /dev/null if it is not wanted")
        module.run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has gone. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("rfkernels: interrupted", file=sys.stderr)
        return 130
    except (RfkernelsError, ValueError, OSError, MemoryError) as error:
        if parsed.debug:
            traceback.print_exc()
        else:
            print(f"rfkernels: {_one_line(error)}", file=sys.stderr)
        return EXIT_ERROR
    return 0


class _Parser(argparse.ArgumentParser):
    """One that answers a wrong argument with one line, as every other error; the usage is a --help away."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_ERROR, f"rfkernels: {message}; see {self.prog} --help\n")


def _make_parser() -> argparse.ArgumentParser:
    common = _Parser(add_help=False)
    # Before the command or behind it; what stands behind does not undo what stands before.
    debug: dict[str, Any] = {"action": "store_true", "help": "show the traceback of an error"}
    common.add_argument("--debug", default=argparse.SUPPRESS, **debug)
    parser = _Parser(
        prog="rfkernels", description="Vision inference with the requests and responses of Roboflow's V2 API."
    )
    parser.add_argument("--debug", **debug)
    parser.add_argument("--version", action="version", version=f"rfkernels {rfkernels.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary, parents=[common])
        importlib.import_module(f"rfkernels.cli.{name}").add_arguments(command)
    return parser


def _one_line(error: BaseException) -> str:
    if isinstance(error, UnicodeEncodeError):
        unwritable = error.object[error.start : error.end]
        text = f"{unwritable!r} cannot be written as {error.encoding}; use UTF-8 (PYTHONIOENCODING=utf-8)"
    elif isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    else:
        text = " ".join(str(error).split()) or type(error).__name__
    # Names from files end up in messages: a terminal must not take part of one for a command.
    return printable(text)


if __name__ == "__main__":
    sys.exit(main())
