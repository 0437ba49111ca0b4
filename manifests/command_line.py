"""What all command lines share: what a user can mend, or only wait for, is one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from manifests.errors import StoreError, UserError, remedy
from manifests.terminal import printable


def new_app(description: str | None = None) -> typer.Typer:
    """Return a command line without commands."""
    return typer.Typer(help=description, no_args_is_help=True, pretty_exceptions_enable=False)


def run_app(app: Callable[[], object]) -> None:
    """Run a command line; a mistake, a failing store and a failing disk are told without a traceback."""
    try:
        app()
    except (UserError, StoreError) as error:
        _leave(str(error), error.exit_code)
    except OSError as error:
        _leave(f"{error.filename or 'the file system'}: {remedy(error)}", StoreError.exit_code)


def _leave(text: str, exit_code: int) -> None:
    lines = map(printable, text.split("\n"))  # a recipe's mistakes have a line each
    print("error: " + "\n".join(lines), file=sys.stderr)
    sys.exit(exit_code)
