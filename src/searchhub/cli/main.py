"""The command line `searchhub`: it works with a finished search.

Commands import what they need when they run, so that `--help` comes at once and torch is loaded only by what trains or
measures.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from searchhub.cli import generation, information, networks, profiling, publishing
from searchhub.errors import SearchhubError

FAILED, INTERRUPTED = 1, 130
"""Exit codes. typer itself refuses words that are no command or option, with 2."""


class _Commands(TyperGroup):
    """Reports on one screen what went wrong, for every command."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SearchhubError as error:
            from searchhub.cli.output import print_error
            from searchhub.workflows.words import for_commands

            print_error(for_commands(str(error)))
            raise typer.Exit(FAILED) from None
        except KeyboardInterrupt:
            sys.stderr.write("Interrupted. Nothing finished is lost; run the same command again.\n")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    help="Search neural architectures once, then get a network for every limit.",
    epilog="RUN is a run's folder, the folder of a published result, or its Hub id. Try: searchhub info RUN",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        from searchhub._version import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


for command in (
    information.info,
    generation.generate,
    generation.pareto,
    networks.train,
    networks.evaluate,
    networks.rank,
    profiling.profile,
    publishing.publish,
    publishing.export,
    information.report,
):
    app.command()(command)


def main() -> None:
    """Runs the command line."""
    app(prog_name="searchhub")


if __name__ == "__main__":
    main()
