"""Run the typer application so that its own complaints look like ours: what, why, what to do, exit 2."""

from __future__ import annotations

import typer

from elisa.model.errors import UsageError

from .app import app

__all__ = ["run_typer"]


def run_typer(arguments: list[str]) -> int:
    """Parse `arguments` with typer and run the command; return its exit status."""
    try:
        result = app(arguments, prog_name="elisa", standalone_mode=False)
    except typer.Exit as leave:
        return leave.exit_code
    except typer.Abort as abort:
        raise KeyboardInterrupt from abort
    except typer.TyperException as err:
        # Showing help because nothing was asked is no error message, though it is an error.
        if type(err).__name__ == "NoArgsIsHelpError":
            typer.echo(err.format_message(), err=True)
            return 2
        raise UsageError(_first_line(err), _where(err), _hint(err)) from err
    return result if isinstance(result, int) else 0


def _first_line(err: typer.TyperException) -> str:
    return err.format_message().splitlines()[0].rstrip(".")


def _where(err: typer.TyperException) -> str:
    context = getattr(err, "ctx", None)
    return f"in `{context.command_path}`" if context else ""


def _hint(err: typer.TyperException) -> str:
    context = getattr(err, "ctx", None)
    return f"see `{context.command_path} --help`" if context else "see `elisa --help`"
