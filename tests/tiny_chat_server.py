"""A chat server on a real socket that runs a tiny Llama and gives log probabilities; set its attributes to spoil it.

It reads a chat as vLLM does: by the model's own template, and answers with the likeliest token and those beside it.
`faults` maps a mark that a chat holds to what is done on its nth request: `[500, "ok"]`; the last is kept.
"""

from __future__ import annotations

import asyncio
import threading
from functools import cache
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "Tiny-Critic"


class TinyChatServer:
    """Use as a context manager; `url` is where it listens."""

    def __init__(self, folder: Path) -> None:
        self.faults = {}
        self.requests = []
        self.headers = []
        self.most_at_once = 0
        self.logprobs = True
        self.most_top = 20
        self.takes_max_tokens = True
        self.listed = True
        self.max_model_len = 512
        self.written = []
        """Tokens of an analysis that it writes before its label, each a token of its vocabulary."""
        self._at_once = 0
        self._tries = {}
        self._tokenizer, self._model = loaded(folder)

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
        app.router.add_post("/v1/chat/completions", self._chat)
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
        return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    async def _chat(self, request):
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            body = await request.json()
            self.requests.append(body)
            await asyncio.sleep(0)
            whole = "".join(turn["content"] for turn in body["messages"])
            mark = next((mark for mark in self.faults if mark in whole), "")
            number = self._tries[mark] = self._tries.get(mark, 0) + 1
            acts = self.faults.get(mark, ["ok"])
            return await self._act(acts[min(number, len(acts)) - 1], request, body)
        finally:
            self._at_once -= 1

    async def _act(self, act, request, body):
        from aiohttp import web

        if isinstance(act, int):
            return refusal(act, f"status {act}, as was asked for; your header: {request.headers.get('Authorization')}")
        if act == "no credit":
            return web.json_response({"error": {"message": "pay", "code": "insufficient_quota"}}, status=429)
        if act == "hang":
            await self._ending.wait()
        if act == "drop":
            request.transport.abort()
        if act in ("", "half"):
            return web.Response(body=b'{"choices": [{"logprobs"' if act else b"", content_type="application/json")
        return self._asked(act, body)

    def _asked(self, act, body):
        from aiohttp import web

        if "max_tokens" in body and not self.takes_max_tokens:
            return refusal(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        if body["top_logprobs"] > self.most_top:
            return refusal(400, f"top_logprobs must be at most {self.most_top}")
        ids = self._tokenizer.encode(
            self._tokenizer.apply_chat_template(body["messages"], tokenize=False, add_generation_prompt=True),
            add_special_tokens=False,
        )
        if len(ids) >= self.max_model_len:
            length = f"This model's maximum context length is {self.max_model_len} tokens, and {len(ids)} were given."
            return refusal(400, length)
        return web.json_response(spoilt(act, self._answer(ids, body)))

    def _answer(self, ids, body):
        limit = body.get("max_tokens") or body["max_completion_tokens"]
        rows = []
        for token in [*self.written, None][:limit]:
            number = None if token is None else self._tokenizer.convert_tokens_to_ids(token)
            rows.append(self._row(ids, body["top_logprobs"], number))
            ids = [*ids, rows[-1].pop("id")]
        choice = {"index": 0, "message": {"role": "assistant", "content": "".join(row["token"] for row in rows)}}
        if self.logprobs:
            choice["logprobs"] = {"content": rows}
        choice["finish_reason"] = "length" if len(self.written) >= limit else "stop"
        usage = {"prompt_tokens": len(ids) - len(rows), "completion_tokens": len(rows), "total_tokens": len(ids)}
        return {"id": "chat-1", "model": body["model"], "choices": [choice], "usage": usage}

    def _row(self, ids, top, chosen):
        import torch

        with torch.inference_mode():
            logprobs = self._model(torch.tensor([ids])).logits[0, -1].log_softmax(dim=-1)
        values, numbers = logprobs.topk(top)
        likely = [
            {"token": self._tokenizer.decode([number]), "logprob": value, "bytes": None}
            for number, value in zip(numbers.tolist(), values.tolist(), strict=True)
        ]
        number = int(numbers[0]) if chosen is None else chosen
        token = {"token": self._tokenizer.decode([number]), "logprob": logprobs[number].item()}
        return {**token, "bytes": None, "top_logprobs": likely, "id": number}


@cache
def loaded(folder: Path):
    """The tokenizer and the model of a folder, loaded once for all servers."""
    from transformers import AutoTokenizer, LlamaForCausalLM

    return AutoTokenizer.from_pretrained(folder), LlamaForCausalLM.from_pretrained(folder).eval()


def refusal(status: int, message: str):
    from aiohttp import web

    return web.json_response({"error": {"message": message, "type": "BadRequestError"}}, status=status)


def spoilt(act, answer):
    choice = answer["choices"][0]
    if act == "error in 200":
        return {"error": {"message": "engine is dead"}}
    if act == "no choice":
        answer["choices"] = []
    if act == "no logprobs":
        choice["logprobs"] = None
    if act == "no list":
        choice["logprobs"]["content"][0]["top_logprobs"] = []
    if act == "logits":
        choice["logprobs"]["content"][0]["top_logprobs"][0]["logprob"] = 12.5
    if act == "other words":
        for one in choice["logprobs"]["content"][0]["top_logprobs"]:
            one["token"] = f"so{one['token']}"
    if act == "no usage":
        del answer["usage"]
    return answer
