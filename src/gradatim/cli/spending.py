"""`spending` and `prices`: what was spent and why, and what some teachers cost."""

from __future__ import annotations

import click

from gradatim.cli.context import Start, pass_start
from gradatim.cli.output import note, print_rows, row_options


@click.command(short_help="What was spent, by stage, level and model, and why.")
@row_options
@pass_start
def spending(start: Start, /, shape: str | None) -> None:
    """Show what was spent: tokens and money, by stage, role, model and level of the question.

    `why` is `answer`; `failed`, a try without an answer that the server may have billed; `lost`, a request whose
    process died; `probe`; or `open`, what is reserved for now. `not booked` are answers that were bought without a
    price and a limit, or before there was a ledger. Of `assumed` tokens no server said what they were: they are worst
    cases. Every single entry: gradatim query "select * from ledger"
    """
    from gradatim.work.spending import COLUMNS, shares

    with start.library(write=False) as library:
        rows = shares(library)
    print_rows(COLUMNS, rows, shape)
    if any(row[COLUMNS.index("why")] == "open" for row in rows):
        note(
            "gradatim: What is open belongs to requests under way, to a batch (gradatim batches), or to a run that was "
            "killed; it counts as spent, and the next command that writes the library says which of it is lost."
        )


@click.command(short_help="What some teachers cost, with the date and the source.")
@click.argument("model", required=False)
@row_options
def prices(model: str | None, shape: str | None) -> None:
    """Show prices per million tokens as vendors' pages had them on a day, with the line to copy into gradatim.toml.

    Nothing is charged by this table: a price counts where it stands in the settings. Look yours up: pages change.
    """
    from gradatim.errors import UsageError
    from gradatim.models.prices import PRICES

    chosen = [one for one in PRICES if model is None or model.lower() in one.model]
    if not chosen:
        raise UsageError(
            f"There is no price of {model!r} here. There are: {', '.join(one.model for one in PRICES)}. Look it up on "
            "its vendor's page and write: price = { input = ..., cached_input = ..., output = ... }"
        )
    if shape is None:
        for one in chosen:
            print(f"{one.model}  {one.currency}, as read on {one.read} at {one.source}{one.note and f' ({one.note})'}")
            print(f"  {one.line}")
        return
    columns = ("model", "input", "cached_input", "output", "currency", "read", "source", "note", "for gradatim.toml")
    rows = [
        (
            one.model,
            one.price.input,
            one.price.cached_input,
            one.price.output,
            one.currency,
            one.read,
            one.source,
            one.note,
            one.line,
        )
        for one in chosen
    ]
    print_rows(columns, rows, shape)
