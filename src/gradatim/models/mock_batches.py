"""The batch API of the mock server: files, and batches of them that take a while and fail as real ones do.

What was uploaded and made lives as long as the server, whatever becomes of its clients. A batch is worked through by
the clock, so nothing runs in the background: how far it is, is worked out when somebody asks. Its lines come out in an
order of their own. Which fault a batch, line or call meets is decided by a hash, so that a run can be repeated.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from gradatim.errors import UsageError
from gradatim.models.mock_faults import unit

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH_KINDS = {
    "failed": "the batch is refused as a whole",
    "failed_line": "the batch is refused for one line of its file",
    "crowded": "the batch is refused because too many tokens are waiting",
    "expired": "the batch ends half done, as if its time were over",
    "cancelled": "the batch ends half done, as if somebody had cancelled it",
    "line_429": "a line of the error file: too many requests",
    "line_500": "a line of the error file: internal error",
    "line_400": "a line of the error file: the context is too small",
    "missing": "an answer that is in neither file",
    "twice": "an answer that stands in the output file twice",
    "stranger": "a line with an id that nobody gave",
    "torn": "the output file ends in the middle of its last line, when it is first read",
    "not_there": "the output file is not there yet, when it is first read",
    "call_500": "a call fails: internal error",
    "call_429": "a call fails: too many requests",
    "lost": "a call is executed, and the connection is closed before the answer",
    "late": "a new batch is listed after a while only",
}
_NAME, _FILE_NAME = re.compile(rb'[; ]name="([^"]*)"'), re.compile(rb'filename="([^"]*)"')
_OF_A_LINE = ("line_429", "line_500", "line_400", "missing", "twice")
_LATE_SECONDS = 0.15
_encode, _decode = msgspec.json.encode, msgspec.json.decode


@dataclass(slots=True, kw_only=True)
class _Line:
    custom_id: str
    body: dict[str, Any]
    digest: bytes
    kind: str
    """The fault that it meets; empty for none."""


@dataclass(slots=True, kw_only=True)
class _Batch:
    id: str
    input_file: str
    metadata: Any
    lines: list[_Line]
    kind: str
    made_at: float
    seconds: float
    """That it takes."""
    listed_at: float
    cancelled_at: float | None = None
    ended: str = ""
    """Its last status, once it was worked out."""
    ended_at: float = 0.0
    files: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    purpose: str
    content: bytes
    made_at: float


def check_shares(shares: tuple[tuple[str, float], ...]) -> None:
    """Raise `UsageError` for a fault that there is not, or for what is no probability."""
    for kind, share in shares:
        if kind not in BATCH_KINDS or not 0 <= share <= 1:
            kinds = ", ".join(BATCH_KINDS)
            raise UsageError(f"--batch-fault {kind}={share:g}: the kinds are {kinds}, each from 0 to 1")


class MockBatches:
    """Files and batches."""

    def __init__(
        self,
        answer: Callable[[bytes], bytes],
        *,
        faults: tuple[tuple[str, float], ...],
        seed: int,
        seconds: float,
    ) -> None:
        """`answer` gives the body of the answer to a chat request; `seconds` is what a batch takes."""
        self._answer = answer
        self._shares = dict(faults)
        self._seed = str(seed).encode()
        self._seconds = seconds
        self._files: dict[str, _File] = {}
        self._made = 0
        self._batches: dict[str, _Batch] = {}
        self._calls: Counter[str] = Counter()
        self._reads: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        """How often each kind was met."""
        self.submitted = 0
        """Lines of all batches."""
        self.again = 0
        """Of those and of online requests, what was answered before, or was in another batch at the time."""
        self.done: set[bytes] = set()
        """Digests of requests whose answers are in an output file."""
        self._under_way: Counter[bytes] = Counter()

    def reset(self) -> None:
        """Set the counts to nothing; files and batches stay."""
        self.submitted = self.again = 0
        self.faults.clear()

    def __len__(self) -> int:
        return len(self._batches)

    def asked_online(self, body: bytes) -> None:
        """Take note of a chat request outside of batches."""
        if self._batches:
            digest = digest_of(_decode(body))
            self.again += digest in self.done or self._under_way[digest] > 0

    def meet(self, kind: str, *what: bytes) -> bool:
        """Whether a fault is met."""
        share = self._shares.get(kind, 0.0)
        met = share > 0 and unit(kind.encode(), self._seed, *what) < share
        self.faults[kind] += met
        return met

    def call(self, method: str, target: str, head: bytes, body: bytes) -> tuple[int, bytes] | None:
        """Answer a call: status and body, or None where the connection is to be closed instead."""
        parts = urlsplit(target)
        path, query = parts.path.rpartition("/v1")[2], parse_qs(parts.query)
        name = f"{method} {path}"
        self._calls[name] += 1
        nth = str(self._calls[name]).encode()
        for kind, status in (("call_500", 500), ("call_429", 429)):
            if self.meet(kind, name.encode(), nth):
                return _error(status, "This call fails on purpose")
        answer = self._routed(method, path.strip("/").split("/"), query, (head, body))
        return None if method == "POST" and self.meet("lost", name.encode(), nth) else answer

    def _routed(  # noqa: PLR0911 - one way out for each call
        self, method: str, path: list[str], query: dict[str, list[str]], sent: tuple[bytes, bytes]
    ) -> tuple[int, bytes]:
        after = (query.get("after") or [""])[0]
        match (method, *path):
            case ("POST", "files"):
                return self._upload(*sent)
            case ("GET", "files"):
                limit = min(10_000, int((query.get("limit") or ["10000"])[0]))
                return _page([self._file(id_) for id_ in reversed(self._files)], after, limit)
            case ("GET", "files", id_) if id_ in self._files:
                return 200, _encode(self._file(id_))
            case ("GET", "files", id_, "content") if id_ in self._files:
                return self._content(id_)
            case ("DELETE", "files", id_) if id_ in self._files:
                del self._files[id_]
                return 200, _encode({"id": id_, "object": "file", "deleted": True})
            case ("POST", "batches"):
                return self._create(sent[1])
            case ("GET", "batches"):
                now = time.monotonic()
                shown = [self._told(one) for one in reversed(self._batches.values()) if one.listed_at <= now]
                return _page(shown, after, min(100, int((query.get("limit") or ["20"])[0])))
            case ("GET", "batches", id_) if id_ in self._batches:
                return 200, _encode(self._told(self._batches[id_]))
            case ("POST", "batches", id_, "cancel") if id_ in self._batches:
                return self._cancel(self._batches[id_])
        return _error(404, f"there is no {'/'.join(path)}")

    # --- files ----------------------------------------------------------------------------------------------------

    def _upload(self, head: bytes, body: bytes) -> tuple[int, bytes]:
        boundary = head.partition(b"boundary=")[2].split(b"\r\n", 1)[0].split(b";", 1)[0].strip(b'" ')
        fields: dict[bytes, tuple[str, bytes]] = {}
        for part in body.split(b"--" + boundary)[1:-1] if boundary else ():
            part_head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
            named = _NAME.search(part_head)
            file_name = _FILE_NAME.search(part_head)
            fields[named[1] if named else b""] = file_name[1].decode("latin-1") if file_name else "", content
        if fields.get(b"purpose", ("", b""))[1] != b"batch" or b"file" not in fields:
            return _error(400, "send purpose=batch and a file, as multipart/form-data")
        name, content = fields[b"file"]
        return 200, _encode(self._file(self._keep(name, "batch", content)))

    def _keep(self, name: str, purpose: str, content: bytes) -> str:
        self._made += 1
        id_ = f"file-{self._made:04d}"
        self._files[id_] = _File(name, purpose, content, time.time())
        return id_

    def _file(self, id_: str) -> dict[str, Any]:
        file = self._files[id_]
        size = {"bytes": len(file.content), "created_at": int(file.made_at)}
        return {"id": id_, "object": "file", "filename": file.name, "purpose": file.purpose, **size}

    def _content(self, id_: str) -> tuple[int, bytes]:
        file = self._files[id_]
        self._reads[id_] += 1
        if file.purpose == "batch_output" and file.name.endswith("output.jsonl"):
            if self._reads[id_] <= 1 and self.meet("not_there", id_.encode()):
                return _error(404, f"there is no file {id_}")
            if self._reads[id_] <= 2 and self.meet("torn", id_.encode()):
                return 200, file.content[:-20]
        return 200, file.content

    # --- batches --------------------------------------------------------------------------------------------------

    def _create(self, body: bytes) -> tuple[int, bytes]:
        try:
            asked = _decode(body)
            file, metadata = asked["input_file_id"], asked.get("metadata")
            whole = asked["endpoint"] == "/v1/chat/completions" and asked["completion_window"]
        except (msgspec.MsgspecError, KeyError, AttributeError, TypeError) as error:
            return _error(400, f"/batches takes input_file_id, endpoint and completion_window: {error!r}")
        if not whole or file not in self._files:
            return _error(400, f"there is no file {file}, or the endpoint is not /v1/chat/completions")
        id_ = f"batch_{len(self._batches) + 1:04d}"
        seed = f"{id_}{file}".encode()
        lines = [self._line(line, id_, at) for at, line in enumerate(self._files[file].content.splitlines()) if line]
        kinds = ("failed", "failed_line", "crowded", "expired", "cancelled")
        kind = next((kind for kind in kinds if self.meet(kind, seed)), "")
        if kind not in {"failed", "failed_line", "crowded"}:
            self.submitted += len(lines)
            self.again += sum(line.digest in self.done or self._under_way[line.digest] > 0 for line in lines)
            self._under_way.update(line.digest for line in lines)
        now = time.monotonic()
        seconds = self._seconds * (0.5 + unit(b"seconds", self._seed, seed))
        late = _LATE_SECONDS if self.meet("late", seed) else 0.0
        self._batches[id_] = _Batch(
            id=id_,
            input_file=file,
            metadata=metadata,
            lines=lines,
            kind=kind,
            made_at=now,
            seconds=seconds,
            listed_at=now + late,
        )
        return 200, _encode(self._told(self._batches[id_]))

    def _line(self, line: bytes, batch: str, at: int) -> _Line:
        read = _decode(line)
        digest = digest_of(read["body"])
        # What the context has no room for, it never has; anything else may pass.
        seeds = {kind: (digest,) if kind == "line_400" else (batch.encode(), str(at).encode()) for kind in _OF_A_LINE}
        kind = next((kind for kind in _OF_A_LINE if self.meet(kind, *seeds[kind])), "")
        return _Line(custom_id=read["custom_id"], body=read["body"], digest=digest, kind=kind)

    def _cancel(self, batch: _Batch) -> tuple[int, bytes]:
        if self._status(batch) in {"completed", "failed", "expired", "cancelled"}:
            return _error(400, f"the batch {batch.id} has ended")
        batch.cancelled_at = batch.cancelled_at or time.monotonic()
        return 200, _encode(self._told(batch))

    def _status(self, batch: _Batch) -> str:
        """Work out how a batch stands, and end it when its time has come."""
        if batch.ended:
            return batch.ended
        now, share = time.monotonic(), 1.0
        passed = (now - batch.made_at) / batch.seconds if batch.seconds else 1.0
        if batch.cancelled_at is not None:
            if now - batch.cancelled_at < batch.seconds / 10:
                return "cancelling"
            status, share = "cancelled", (batch.cancelled_at - batch.made_at) / batch.seconds if batch.seconds else 0.0
        elif passed < 0.2:
            return "validating"
        elif batch.kind in {"failed", "failed_line", "crowded"}:
            status, share = "failed", 0.0
        elif passed < 0.9:
            return "in_progress"
        elif passed < 1:
            return "finalizing"
        else:
            status = batch.kind or "completed"
            share = 0.5 if batch.kind else 1.0
        self._end(batch, status, share)
        return status

    def _end(self, batch: _Batch, status: str, share: float) -> None:
        """Write a batch's files: so many of its lines were run."""
        batch.ended, batch.ended_at = status, time.time()
        if status == "failed":
            return
        order = sorted(batch.lines, key=lambda line: unit(b"order", self._seed, line.custom_id.encode()))
        run, left = order[: round(share * len(order))], order[round(share * len(order)) :]
        output, errors = self._run(batch, run)
        code = "batch_expired" if status == "expired" else "batch_cancelled"
        errors += [_encode(_not_run(batch, line, code)) for line in left]
        for line in batch.lines:
            self._under_way[line.digest] -= 1
        for name, written in (("output", output), ("error", errors)):
            if written:
                content = b"".join(line + b"\n" for line in written)
                batch.files[name] = self._keep(f"{batch.id}_{name}.jsonl", "batch_output", content)
        batch.counts = {"completed": len({line for line in output if b"nobody" not in line}), "failed": len(errors)}

    def _run(self, batch: _Batch, lines: list[_Line]) -> tuple[list[bytes], list[bytes]]:
        output: list[bytes] = []
        errors: list[bytes] = []
        for line in lines:
            if line.kind in _SAID:
                errors.append(_encode(_failed(batch, line, *_SAID[line.kind])))
                continue
            if line.kind == "missing":
                continue
            body = self._answer(_encode(line.body))
            said = {"status_code": 200, "request_id": f"req-{line.custom_id}", "body": msgspec.Raw(body)}
            output += [_encode(_result(batch, line.custom_id, said))] * (2 if line.kind == "twice" else 1)
            self.done.add(line.digest)
        if output and self.meet("stranger", batch.id.encode()):
            said = {"status_code": 200, "request_id": "req-nobody", "body": msgspec.Raw(body)}
            output.insert(0, _encode(_result(batch, "nobody-asked-this", said)))
        return output, errors

    def _told(self, batch: _Batch) -> dict[str, Any]:
        status = self._status(batch)
        total = len(batch.lines)
        passed = min(1.0, (time.monotonic() - batch.made_at) / batch.seconds) if batch.seconds else 1.0
        counts = batch.counts or {"completed": int(total * passed) if status == "in_progress" else 0, "failed": 0}
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "status": status,
            "input_file_id": batch.input_file,
            "output_file_id": batch.files.get("output"),
            "error_file_id": batch.files.get("error"),
            "errors": {"object": "list", "data": [_WHY[batch.kind]]} if status == "failed" else None,
            "created_at": int(time.time() - (time.monotonic() - batch.made_at)),
            "request_counts": {"total": total, **counts},
            "metadata": batch.metadata,
        }


_SAID = {
    "line_429": (429, "Rate limit reached"),
    "line_500": (500, "The server had an error while processing your request"),
    "line_400": (400, "This model's maximum context length is 10 tokens. Please reduce the length of the messages."),
}
_WHY: dict[str, dict[str, Any]] = {
    "failed": {"code": "server_error", "message": "The batch could not be validated.", "line": None, "param": None},
    "failed_line": {
        "code": "invalid_request",
        "message": "The body of this line is not valid.",
        "line": 1,
        "param": None,
    },
    "crowded": {
        "code": "token_limit_exceeded",
        "message": "Enqueued token limit reached. Please try again once some in_progress batches have been completed.",
        "line": None,
        "param": None,
    },
}


def digest_of(body: dict[str, Any]) -> bytes:
    """Return what names a request, however it was asked."""
    plain = {key: value for key, value in sorted(body.items()) if key not in {"stream", "stream_options"}}
    return hashlib.blake2b(_encode(plain), digest_size=8).digest()


def _result(batch: _Batch, custom_id: str, response: Any, error: Any = None) -> dict[str, Any]:
    return {"id": f"batch_req_{batch.id}_{custom_id}", "custom_id": custom_id, "response": response, "error": error}


def _failed(batch: _Batch, line: _Line, status: int, message: str) -> dict[str, Any]:
    body = {"error": {"message": message, "type": "mock_server", "code": None}}
    return _result(batch, line.custom_id, {"status_code": status, "request_id": "req", "body": body})


def _not_run(batch: _Batch, line: _Line, code: str) -> dict[str, Any]:
    return _result(batch, line.custom_id, None, {"code": code, "message": "This request was not run."})


def _page(rows: list[dict[str, Any]], after: str, limit: int) -> tuple[int, bytes]:
    ids = [row["id"] for row in rows]
    start = ids.index(after) + 1 if after in ids else 0
    page = rows[start : start + limit]
    return 200, _encode({"object": "list", "data": page, "has_more": start + limit < len(rows)})


def _error(status: int, message: str) -> tuple[int, bytes]:
    return status, _encode({"error": {"message": message, "type": "mock_server", "code": None}})
