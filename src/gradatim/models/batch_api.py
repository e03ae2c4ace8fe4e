"""The batch API of OpenAI-compatible servers: files of requests that are answered within a day, mostly at half price.

`BatchEndpoint` is one model on such a server. Each method here is a single try; `work.batching` decides when, how often
and what is kept. As OpenAI documents it: a JSONL file of at most 50,000 requests and 200 MB is uploaded to `/files`,
`/batches` makes a batch of it, and its answers come in an output file and an error file, in any order.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeVar

import msgspec

from gradatim.errors import SetupError, UsageError
from gradatim.models.batch_lines import ENDPOINT
from gradatim.models.faults import Retry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gradatim.models.endpoint import Endpoint
    from gradatim.types import Reply, Request

FINAL = frozenset({"completed", "failed", "expired", "cancelled"})
"""Statuses that do not change any more. Before them come validating, in_progress, finalizing and cancelling."""
MARK = "gradatim"
"""The key of our marker in a batch's metadata, and the beginning of the names of files."""
_PAGES = 200
"""Pages of a list that are read at most."""
_A_DAY = 86_400.0
_CHUNK = 1 << 20
T = TypeVar("T")


class BatchError(msgspec.Struct, frozen=True):
    """Why a batch was refused, as a whole or for one line of its file."""

    code: str | None = None
    message: str | None = None
    line: int | None = None
    """Counted from 1."""


class _Errors(msgspec.Struct):
    data: list[BatchError] | None = None


class _Counts(msgspec.Struct):
    total: int | None = None
    completed: int | None = None
    failed: int | None = None


class _Batch(msgspec.Struct):
    id: str
    status: str
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: _Counts | None = None
    errors: _Errors | None = None
    metadata: Any = None
    created_at: float | None = None


class _File(msgspec.Struct):
    id: str
    filename: str | None = None


class _Batches(msgspec.Struct):
    data: list[_Batch] = []
    has_more: bool | None = None


class _Files(msgspec.Struct):
    data: list[_File] = []
    has_more: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerBatch:
    """A batch as the server tells of it."""

    id: str
    status: str
    output_file: str = ""
    error_file: str = ""
    total: int = 0
    completed: int = 0
    failed: int = 0
    errors: tuple[BatchError, ...] = ()


class BatchEndpoint:
    """One model on an OpenAI-compatible server that is asked in batches. A `Model` as well, for single requests."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        requests: int = 50_000,
        megabytes: float = 200.0,
        window: str = "24h",
        poll: float = 30.0,
        online: int = 0,
        wait: bool = True,
        keep_files: bool = True,
    ) -> None:
        """Args beside the endpoint are those of `batch` in the settings; nothing is sent yet.

        Args:
            endpoint: the model and its server.
            requests: the most in one batch.
            megabytes: the most of one file, in millions of bytes.
            window: within which the server is to answer, as it takes it.
            poll: seconds between two looks at a batch.
            online: where no more than so many are to be asked, they are asked one by one instead.
            wait: whether a run waits for its batches, or ends when they are at the server.
            keep_files: whether files stay at the server when their answers are stored.
        """
        if requests < 1 or not megabytes > 0 or not poll > 0 or online < 0:
            raise UsageError("requests is 1 or more, megabytes and poll are above 0, online is 0 or more")
        self.endpoint = endpoint
        self.name = endpoint.name
        self.requests = requests
        self.bytes = int(megabytes * 1_000_000)
        self.window = window
        self.poll = poll
        self.online = online
        self.wait = wait
        self.keep_files = keep_files

    @property
    def notes(self) -> list[str]:
        """What was found out about the server and concerns the user."""
        return self.endpoint.notes

    async def ask(self, request: Request) -> Reply:
        """Ask one request by itself."""
        return await self.endpoint.ask(request)

    async def close(self) -> None:
        """End the connections. A later call opens new ones."""
        await self.endpoint.close()

    async def upload(self, file: IO[bytes], name: str) -> str:
        """Upload an input file, streamed from disk; return the id that the server gave it."""
        import aiohttp  # noqa: PLC0415 - importing gradatim must stay cheap

        file.seek(0)
        # A copy, since aiohttp closes what it has sent.
        with os.fdopen(os.dup(file.fileno()), "rb") as copy, aiohttp.MultipartWriter("form-data") as writer:
            writer.append("batch").set_content_disposition("form-data", name="purpose")
            part = writer.append(copy, {"Content-Type": "application/jsonl"})
            part.set_content_disposition("form-data", name="file", filename=name)
            # In place of the session's own type.
            headers = {"Content-Type": writer.content_type}
            return (await self._call("POST", "/files", _File, data=writer, headers=headers)).id

    async def find_file(self, name: str) -> str | None:
        """Return the id of an uploaded file of this name, if there is one."""
        async for file in self._listed("/files", _Files, {"purpose": "batch", "limit": "1000"}):
            if file.filename == name:
                return str(file.id)
        return None

    async def create(self, file: str, marker: str) -> ServerBatch:
        """Have the server make a batch of an uploaded file. To be looked for by `find` before it is tried again."""
        asked = {
            "input_file_id": file,
            "endpoint": ENDPOINT,
            "completion_window": self.window,
            "metadata": {MARK: marker},
        }
        return _told(await self._call("POST", "/batches", _Batch, json=asked))

    async def find(self, file: str, marker: str, since: float) -> ServerBatch | None:
        """Return the batch with our marker, or of our file where a server keeps no metadata.

        `since` is when the file was made, in seconds since 1970: lists begin with what is newest, and are read no
        further than a day before, since clocks differ.
        """
        async for batch in self._listed("/batches", _Batches, {"limit": "100"}):
            marked = isinstance(batch.metadata, dict) and batch.metadata.get(MARK) == marker
            if marked or batch.input_file_id == file:
                return _told(batch)
            if batch.created_at is not None and batch.created_at < since - _A_DAY:
                return None
        return None

    async def get(self, id_: str) -> ServerBatch:
        """Return how a batch stands."""
        return _told(await self._call("GET", f"/batches/{id_}", _Batch))

    async def cancel(self, id_: str) -> ServerBatch:
        """Have the server end a batch. What was answered by then comes in its files."""
        return _told(await self._call("POST", f"/batches/{id_}/cancel", _Batch))

    async def download(self, file: str, out: IO[bytes]) -> None:
        """Write a file of the server to `out`. Raises `SetupError` where there is no room for it."""
        async with self.endpoint.opened("GET", f"/files/{file}/content") as response:
            async for data in response.content.iter_chunked(_CHUNK):
                self.keep(out, data)

    def keep(self, out: IO[bytes], data: bytes) -> None:
        """Write to a temporary file. Raises `SetupError` where there is no room."""
        try:
            out.write(data)
        except OSError as error:
            raise SetupError(
                f"{self.name}: no temporary file can be written ({error.strerror}): free some space, or set TMPDIR, "
                "and run the same command again, which asks for nothing that was answered"
            ) from error

    async def delete_file(self, file: str) -> None:
        """Remove a file from the server."""
        async with self.endpoint.opened("DELETE", f"/files/{file}"):
            pass

    async def _call(self, method: str, path: str, kind: type[T], **sent: Any) -> T:
        async with self.endpoint.opened(method, path, **sent) as response:
            data = await response.read()
        try:
            return msgspec.json.decode(data, type=kind, strict=False)
        except msgspec.MsgspecError:
            # It may have been done all the same.
            raise Retry("bad_json", self.endpoint.redacted(data.decode("utf-8", "replace")), billed=True) from None

    async def _listed(self, path: str, kind: Any, params: dict[str, str]) -> AsyncIterator[Any]:
        for _ in range(_PAGES):
            page = await self._call("GET", path, kind, params=params)
            for one in page.data:
                yield one
            if not page.has_more or not page.data:
                return
            params = params | {"after": page.data[-1].id}


def _told(batch: _Batch) -> ServerBatch:
    counts = batch.request_counts or _Counts()
    return ServerBatch(
        id=batch.id,
        status=batch.status.lower(),
        output_file=batch.output_file_id or "",
        error_file=batch.error_file_id or "",
        total=counts.total or 0,
        completed=counts.completed or 0,
        failed=counts.failed or 0,
        errors=tuple((batch.errors.data if batch.errors else None) or ()),
    )
