"""`batches`: which batches there are, and ending one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gradatim.cli.context import Start, pass_start
from gradatim.cli.output import note, print_rows, row_options
from gradatim.errors import GradatimError, UsageError

if TYPE_CHECKING:
    from gradatim.config import Config
    from gradatim.library.batches import Batch
    from gradatim.models.batch_api import BatchEndpoint, ServerBatch


@click.command(short_help="Batches at servers; cancel one.")
@click.option("--cancel", metavar="ID", help="Have the server end a batch; what it has answered by then is kept.")
@click.option(
    "--forget", metavar="ID", help="Give a batch up that the server does not have; its questions may be asked anew."
)
@row_options
@pass_start
def batches(start: Start, /, cancel: str | None, forget: str | None, shape: str | None) -> None:
    """List the batches, the newest first: state here, status as the server told it last, requests and answers.

    A state of prepared, uploaded or submitted is open: the command that made it takes it up again. ID is the server's
    id of a batch, or our marker. A batch that was cancelled is collected by that command too.
    """
    from gradatim.library import batches as books

    if cancel is not None and forget is not None:
        raise UsageError(
            "--cancel and --forget exclude each other: a batch that can be cancelled need not be forgotten."
        )
    with start.library(write=forget is not None) as library:
        if forget is not None:
            batch = _chosen(books.named(library, forget), forget)
            left = books.forget(library, batch)
            note(
                f"gradatim: {batch.called} is given up, and its {left:,} requests without an answer may be asked anew. "
                "If the server runs it all the same, they are paid for twice."
            )
        elif cancel is not None:
            batch = _chosen(books.named(library, cancel), cancel)
            told = _cancelled(start.config(), books.model_of(library, batch), batch)
            note(
                f"gradatim: {told.id} is {told.status}, with {told.completed:,} of {told.total:,} done. Run the "
                "command that made it to take its answers."
            )
        else:
            print_rows(_COLUMNS, library.rows(_LIST), shape, whole=("id", "made"))


_COLUMNS = ("id", "marker", "model", "stage", "state", "status", "requests", "answered", "failed", "made")
_LIST = (
    "SELECT coalesce(nullif(id, ''), '-'), marker, model, stage, state, coalesce(nullif(status, ''), '-'), requests, "
    "answered, failed, datetime(made_at, 'unixepoch') || ' UTC' FROM batches ORDER BY made_at DESC"
)


def _chosen(batch: Batch | None, name: str) -> Batch:
    """Return an open batch. Raises `UsageError` for any other."""
    if batch is None:
        raise UsageError(f"The library has no batch {name!r}. See: gradatim batches")
    if batch.state not in ("prepared", "uploaded", "submitted"):
        raise UsageError(f"The batch {name!r} is {batch.state} already; nothing of it is under way.")
    return batch


def _cancelled(config: Config, model: str, batch: Batch) -> ServerBatch:
    """Have the server end a batch."""
    from gradatim.models.faults import ModelFault
    from gradatim.models.pace import EngineSettings
    from gradatim.work.sending import Sender

    if not batch.server_id:
        raise UsageError(
            f"The batch {batch.marker} is {batch.state}: the server has not named it yet. Run the command that made it "
            "with --no-wait, and then cancel it."
        )
    endpoint = _endpoint(config, model, batch)
    try:
        return Sender(endpoint, EngineSettings()).patiently(lambda: endpoint.cancel(batch.server_id))
    except ModelFault as fault:
        raise GradatimError(f"The server did not cancel {batch.server_id}: {fault.fault.message}") from fault


def _endpoint(config: Config, model: str, batch: Batch) -> BatchEndpoint:
    """Return the server that has a batch, as the settings know it."""
    from gradatim.models.batch_api import BatchEndpoint
    from gradatim.work.opening import open_model

    for one in config.models.values():
        if one.model == model and one.batched is not None:
            found = open_model(one)
            if isinstance(found, BatchEndpoint) and found.endpoint.base_url == batch.base_url:
                return found
    raise UsageError(
        f"No [models] table is {model!r} at {batch.base_url} with batch = true, so it is not known with which key to "
        "ask. Add it to gradatim.toml."
    )
