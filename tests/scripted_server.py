"""A server on a socket that answers each request with the bytes that a test wrote, packet by packet."""

import socket
import threading
import time
from dataclasses import dataclass, field

import msgspec


@dataclass(kw_only=True)
class Answer:
    """What one request gets."""

    parts: list[bytes]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    """Close before the announced end of the body."""
    pause: float = 0.01
    """Seconds between the parts."""
    hold: float = 0.0
    """Seconds to keep the connection open, in silence, after the last part."""

    def head(self) -> bytes:
        length = sum(map(len, self.parts)) + (10 if self.cut or self.hold else 0)
        lines = [f"HTTP/1.1 {self.status} Said", f"Content-Length: {length}", "Connection: close"]
        return "\r\n".join(lines + [f"{name}: {value}" for name, value in self.headers.items()]).encode() + b"\r\n\r\n"


class Scripted:
    """Answers requests in order of arrival; the last answer is repeated."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = answers
        self.bodies: list[dict[str, object]] = []
        self.heads: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._serve)]
        self._lock = threading.Lock()
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._closing.set()
        with socket.create_connection(self._socket.getsockname()):
            pass
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _serve(self):
        while not self._closing.is_set():
            connection, _ = self._socket.accept()
            thread = threading.Thread(target=self._answer, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _answer(self, connection):
        with connection:
            try:
                if not self._read(connection):
                    return
                with self._lock:
                    at = min(len(self.heads), len(self._answers)) - 1
                answer = self._answers[at]
                connection.sendall(answer.head())
                for part in answer.parts:
                    time.sleep(answer.pause)
                    connection.sendall(part)
                self._closing.wait(answer.hold)
            except OSError:
                return

    def _read(self, connection):
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return False
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += connection.recv(65536)
        with self._lock:
            self.heads.append(head.decode())
            self.bodies.append(msgspec.json.decode(body) if body else {})
        return True
