"""A server on a real socket that fails on purpose: what the tiny PRM's and the tiny chat model's server share.

`faults` maps a mark that a request's text holds to what is done on its nth request: `[500, "hang", "ok"]`; the last is
kept.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from typing import Self


class FaultyServer(ABC):
    """Use as a context manager; `url` is where it listens."""

    MODEL = ""
    PATH = ""
    """Where it is asked; `_act` answers."""
    HALF = b""
    """How an answer of its begins that is cut off in the middle."""

    def __init__(self) -> None:
        self.faults = {}
        self.requests = []
        self.headers = []
        self.most_at_once = 0
        self.max_model_len = 512
        self.delay = 0.0
        self.listed = True
        self._at_once = 0
        self._tries = {}

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> str:
        from aiohttp import web

        self._ending = asyncio.Event()
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post(self.PATH, self._asked)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _models(self, request):
        from aiohttp import web

        self.headers.append(dict(request.headers))
        if not self.listed:
            return web.Response(status=500)
        return web.json_response({"object": "list", "data": [{"id": self.MODEL, "object": "model"}]})

    async def _asked(self, request):
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            body = await request.json()
            self.requests.append(body)
            await asyncio.sleep(self.delay)
            text = self._text(body)
            mark = next((mark for mark in self.faults if mark in text), "")
            number = self._tries[mark] = self._tries.get(mark, 0) + 1
            acts = self.faults.get(mark, ["ok"])
            return await self._act(acts[min(number, len(acts)) - 1], request, body)
        finally:
            self._at_once -= 1

    @abstractmethod
    def _text(self, body) -> str:
        """What a mark is looked for in."""

    @abstractmethod
    def _answered(self, act, body):
        """The response where nothing of it is lost: whole, or spoilt as `act` says."""

    async def _act(self, act, request, body):
        from aiohttp import web

        if isinstance(act, int):
            return refusal(act, f"status {act}, as was asked for; your header: {request.headers.get('Authorization')}")
        if isinstance(act, tuple):
            return refusal(*act)
        if act == "hang":
            await self._ending.wait()
        if act == "drop":
            request.transport.abort()
        if act in ("empty body", "half"):
            return web.Response(body=self.HALF if act == "half" else b"", content_type="application/json")
        return self._answered(act, body)


def refusal(status: int, message: str):
    """An error as vLLM writes it."""
    from aiohttp import web

    error = {"message": message, "type": "BadRequestError", "param": None, "code": status}
    return web.json_response({"error": error}, status=status)
