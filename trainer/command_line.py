"""What all command lines of the trainer share: no tracebacks for what a user can mend or only wait for."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from manifests.errors import StoreError, UserError


def new_app(description: str | None = None) -> typer.Typer:
    """Return a command line without commands."""
    return typer.Typer(help=description, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def run_app(app: Callable[[], object]) -> None:
    """Run a command line; a user's mistake or a store's failure is one line and an exit code."""
    try:
        app()
    except (UserError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
