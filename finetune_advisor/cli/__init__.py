"""The command line. One file per command; importing this loads neither torch nor timm."""

from __future__ import annotations

import errno
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from finetune_advisor.cli.analyze import analyze
from finetune_advisor.cli.backbones import backbones
from finetune_advisor.cli.compare import compare
from finetune_advisor.cli.console import accept_any_letter, err, give_up_stdout, out, write_all
from finetune_advisor.cli.demo import demo
from finetune_advisor.cli.diagnose import diagnose
from finetune_advisor.cli.doctor import doctor
from finetune_advisor.cli.ensemble import ensemble
from finetune_advisor.cli.evaluate import evaluate
from finetune_advisor.cli.export import export
from finetune_advisor.cli.predict import predict
from finetune_advisor.cli.recipes import recipes_app
from finetune_advisor.cli.report import report
from finetune_advisor.cli.run import run
from finetune_advisor.cli.techniques import techniques
from finetune_advisor.errors import DataError, FinetuneAdvisorError, Interrupted
from finetune_advisor.processes import first_to_fail
from finetune_advisor.storage.files import refused
from finetune_advisor.text import printable
from finetune_advisor.training.interrupt import name_of, sigterm_as_ctrl_c
from finetune_advisor.version import __version__


class _Group(TyperGroup):
    """Turns the errors of the package, and a disk that refuses, into one message and an exit code."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        accept_any_letter()
        try:
            return super().main(*arguments, **settings)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                _tell(DataError(f"{str(error.filename)[:80]}... is too long for a path.", "Check what was typed."))
                raise SystemExit(DataError.exit_code) from error
            # Not a closed pipe (`| head`), which ends quietly above, with exit code 1. What is written to files comes
            # as a StorageError, so an error that names no file is stdout's.
            refusal = refused(error, error.filename or "to standard output")
            if refusal is None:
                raise
            give_up_stdout()
            _tell(refusal)
            raise SystemExit(refusal.exit_code) from error

    def invoke(self, ctx: Any) -> Any:  # typer carries its own copy of click, so its Context has two names
        try:
            return super().invoke(ctx)
        except FinetuneAdvisorError as error:
            if first_to_fail():
                _tell(error)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as interrupt:
            if first_to_fail():
                err.print(f"[bold yellow]stopped[/] by {name_of(interrupt)}; files already written are complete.")
            raise typer.Exit(Interrupted.exit_code) from interrupt


def _tell(error: FinetuneAdvisorError) -> None:
    style, word = ("yellow", "stopped") if isinstance(error, Interrupted) else ("red", "error")
    err.print(f"[bold {style}]{word}:[/] {escape(printable(error.message))}", highlight=False, soft_wrap=True)
    if error.hint:
        err.print(f"[dim]→[/] {escape(printable(error.hint))}", highlight=False, soft_wrap=True)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Measures your labeled images, writes a fine-tuning recipe with its reasons, and runs it.",
    epilog="Start with: [bold]finetune-advisor analyze ./data[/] · then: [bold]finetune-advisor run[/]",
)
app.command()(analyze)
app.command()(run)
app.command()(diagnose)
app.command()(report)
app.command()(ensemble)
app.command()(compare)
app.command()(predict)
app.command()(evaluate)
app.command()(export)
app.add_typer(recipes_app, name="recipes")
app.command()(techniques)
app.command()(backbones)
app.command()(doctor)
app.command()(demo)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"finetune-advisor {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of `finetune-advisor` and `python -m finetune_advisor`."""
    sigterm_as_ctrl_c()
    write_all()
    app(prog_name="finetune-advisor")
