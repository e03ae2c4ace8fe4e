"""The command line's way in: the group, and how errors end.

Exit codes: 0 all done; 1 something is left to do; 2 wrong use; 3 the library cannot be used; 4 the machine lacks
something; 5 a limit was reached; 70 a bug of ours; 130 interrupted.
"""

from __future__ import annotations

import errno
import io
import os
import sys

import click

from gradatim import __version__
from gradatim.cli import (
    asking,
    batching,
    calibrating,
    choosing,
    comparing,
    deciding,
    doctor,
    evaluating,
    looking,
    reading,
    reporting,
    running,
    spending,
    tiny,
    training,
)
from gradatim.cli.context import Start
from gradatim.cli.output import printable
from gradatim.errors import GradatimError, SetupError, UsageError


class _Stages(click.Group):
    """Lists its commands in the order they were added, which is the stages' order."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Stages, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--config", "config_path", metavar="FILE", help="Settings; ./gradatim.toml where there is one.")
@click.option("--library", "library_path", metavar="FILE", help="The library; what the settings say, or ./library.db.")
@click.version_option(__version__, prog_name="gradatim")
@click.pass_context
def cli(context: click.Context, config_path: str | None, library_path: str | None) -> None:
    """Find out what your model cannot solve yet, and turn that into the chains of thought that teach it most.

    The stages, in their order: ingest, attempt, verify, grade, sample, teach, curate, export; `run` does them all.
    Then come train, evaluate and report. Results go to stdout, everything else to stderr. Every stage does what is
    missing, so a rerun is a resume.
    """
    context.obj = Start(config_path=config_path, library_path=library_path)


for command in (
    reading.init,
    reading.ingest,
    asking.attempt,
    deciding.verify,
    calibrating.calibrate,
    deciding.grade,
    deciding.levels,
    choosing.sample,
    asking.teach,
    choosing.curate,
    choosing.export,
    training.train,
    evaluating.evaluate,
    reporting.report,
    running.run,
    comparing.compare,
    looking.status,
    looking.show,
    looking.query,
    batching.batches,
    spending.spending,
    spending.prices,
    doctor.doctor,
    asking.mock_server,
    tiny.tiny,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line; no wrong use, and no fault of the machine, ends in a traceback."""
    _open_streams()
    sys.exit(_run())


def _open_streams() -> None:
    """Have streams that take any text: models write what a terminal's encoding may not have, and users close stdout."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - open until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run() -> int:  # noqa: PLR0911 - one way out for each kind of end
    try:
        _refuse_odd_bytes(sys.argv[1:])
        cli(prog_name="gradatim", standalone_mode=False)
        sys.stdout.flush()  # here, where a full disk or a closed pipe is still heard of
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        return _say(_usage(error), 2)
    except GradatimError as error:
        return _say(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort) as error:
        # click puts its own in the place of Ctrl-C's, which may say what goes on at a server.
        more = " ".join(map(str, (error.__cause__ or error).args))
        return _say(f"Stopped. Everything that was done is saved; run the same command to go on. {more}".strip(), 130)
    except BrokenPipeError:
        _forget_stdout()
        return 0
    except OSError as error:
        if os.environ.get("GRADATIM_TRACEBACK"):
            raise
        _forget_stdout()
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        words = (
            f"The disk is full ({error}). Free some space" if full else f"The machine refused: {error}. Put it right"
        )
        return _say(f"{words} and run the same command again.", SetupError.exit_code)
    except Exception as error:  # noqa: BLE001 - the last boundary: a bug gets a sentence too
        return _bug(error)
    return 0


def _refuse_odd_bytes(words: list[str]) -> None:
    """Raise `UsageError` for an argument that is no text: names and paths are kept in a library, which holds text."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{word!r} is not UTF-8 text; rename the file, or set a UTF-8 locale.") from error


def _forget_stdout() -> None:
    """Let nothing that stdout still holds fail a second time when the program ends."""
    stdout = sys.__stdout__
    if stdout is not None and stdout is sys.stdout:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())


def _usage(error: click.ClickException) -> str:
    """Return click's complaint as one sentence, with where to read on."""
    text = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    if isinstance(error, click.NoSuchOption) and error.option_name in ("--library", "--config"):
        return f"{error.option_name} stands before the command: gradatim {error.option_name} FILE COMMAND."
    end = "" if text.endswith("?") else "."
    return f"{text}{end} See: {context.command_path} --help" if context else f"{text}{end}"


def _say(text: str, code: int) -> int:
    text = printable(" ".join(text.split()))
    # Sentences of the parts may begin with a setting's name or a path, which stay as they are written.
    if text.startswith(("the ", "a ")):
        text = text[0].upper() + text[1:]
    print(f"gradatim: {text}", file=sys.stderr)
    return code


def _bug(error: Exception) -> int:
    if os.environ.get("GRADATIM_TRACEBACK"):
        raise error
    words = f"{type(error).__name__}: {error}"
    return _say(
        f"A bug in Gradatim: {words}. What was done is saved. Please report it; "
        "GRADATIM_TRACEBACK=1 shows where it happened.",
        70,
    )
