"""A real browser for tests of pages: headless Chromium over its DevTools protocol.

Sees every request that a page tries to make, also those that a policy refuses, and every error of its scripts.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WHY_NOT = "there is no Chromium here: apt-get install chromium"
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


class Page:
    """One tab. `requests` and `errors` grow as the page lives."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._loaded = False
        self.requests: list[str] = []
        self.errors: list[str] = []

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give one command and wait for its result."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            said = json.loads((await self._socket.receive(timeout=30)).data)
            if said.get("id") == number:
                assert "error" not in said, (method, said)
                return said["result"]
            self._note(said)

    def _note(self, event: dict[str, Any]) -> None:
        kind, told = event.get("method"), event.get("params", {})
        if kind == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif kind == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(told["exceptionDetails"])[:500])
        elif kind == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.errors.append(json.dumps(told["args"])[:500])
        elif kind == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.errors.append(told["entry"]["text"])
        elif kind == "Page.javascriptDialogOpening":
            self.errors.append(f"dialog: {told['message']}")
        elif kind == "Page.loadEventFired":
            self._loaded = True

    async def open(self, path: Path, *, width: int = 1100, scheme: str = "light", media: str = "screen") -> None:
        """Open a file and wait until it is loaded."""
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.send(f"{domain}.enable")
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        await self.look(scheme, media)
        self._loaded = False
        await self.send("Page.navigate", url=path.as_uri())
        while not self._loaded:
            self._note(json.loads((await self._socket.receive(timeout=30)).data))

    async def look(self, scheme: str, media: str = "screen") -> None:
        """Prefer light or dark; be a screen or paper."""
        await self.send(
            "Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    async def run(self, script: str) -> Any:
        """Return the value of an expression."""
        result = await self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def pdf(self) -> bytes:
        """Print."""
        result = await self.send("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        return base64.b64decode(result["data"])


class Browser:
    """A running browser; every visit has a tab of its own."""

    def __init__(self, port: str) -> None:
        self._home = f"http://127.0.0.1:{port}/json"

    def visit(self, work: Callable[[Page], Awaitable[Any]]) -> Any:
        """Do the work in a new tab and close it."""
        return asyncio.run(self._visit(work))

    async def _visit(self, work: Callable[[Page], Awaitable[Any]]) -> Any:
        async with aiohttp.ClientSession() as session:
            async with session.put(f"{self._home}/new?about:blank") as answer:
                tab = await answer.json()
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                result = await work(Page(socket))
            async with session.get(f"{self._home}/close/{tab['id']}"):
                return result


@contextlib.contextmanager
def started() -> Iterator[Browser]:
    """Start a browser with a profile of its own, and end it."""
    assert PROGRAM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [PROGRAM, *_FLAGS, f"--user-data-dir={folder}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            told = Path(folder) / "DevToolsActivePort"
            for _ in range(600):
                if told.exists() and "\n" in told.read_text():
                    break
                time.sleep(0.1)
            yield Browser(told.read_text().splitlines()[0])
        finally:
            process.terminate()
            process.wait(timeout=30)
