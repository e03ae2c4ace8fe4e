"""A small server on a real socket that speaks vLLM's `/pooling`, and runs a tiny PRM to answer it.

It takes the text as vLLM does: tokenizes it with the model's tokenizer, runs the model over it alone, picks the rows at
the step tag that it is set up with. The computation is its own, and shares nothing with what is tested. Set its
attributes to set it up wrongly, and `faults` to make single texts fail.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "Qwen/Tiny-PRM"
TASKS = ("token_embed", "token_classify")


class TinyPRMServer:
    """Use as a context manager; `url` is where it listens."""

    def __init__(self, folder: Path) -> None:
        self.faults = {}
        """From a mark that a text holds to what is done on its nth request: `[500, "hang", "ok"]`; the last is kept."""
        self.requests = []
        self.headers = []
        self.most_at_once = 0
        self.tasks = TASKS
        self.needs_task = False
        self.step_tag = "<extra_0>"
        self.softmax = True
        self.max_model_len = 512
        self.delay = 0.0
        self._at_once = 0
        self._tries = {}
        self._folder = folder
        self._load(folder)

    def _load(self, folder: Path) -> None:
        import torch
        from safetensors.torch import load_file
        from tokenizers import Tokenizer
        from transformers import Qwen2Config, Qwen2Model

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._weights = load_file(folder / "model.safetensors")
        self._backbone = Qwen2Model(Qwen2Config.from_pretrained(folder)).eval()
        names = (name for name in self._weights if name.startswith("model."))
        self._backbone.load_state_dict({name.removeprefix("model."): self._weights[name] for name in names})
        self._torch = torch

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
        app.router.add_post("/pooling", self._pooling)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _models(self, request):
        from aiohttp import web

        self.headers.append(dict(request.headers))
        return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    async def _pooling(self, request):
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            body = await request.json()
            self.requests.append(body)
            await asyncio.sleep(self.delay)
            text = body["input"] if "input" in body else str(body["messages"])
            mark = next((mark for mark in self.faults if mark in text), "")
            number = self._tries[mark] = self._tries.get(mark, 0) + 1
            acts = self.faults.get(mark, ["ok"])
            return await self._act(acts[min(number, len(acts)) - 1], request, body)
        finally:
            self._at_once -= 1

    async def _act(self, act, request, body):
        from aiohttp import web

        if isinstance(act, int):
            return _refusal(act, f"status {act}, as was asked for; your header: {request.headers.get('Authorization')}")
        if isinstance(act, tuple):
            status, message = act
            return _refusal(status, message)
        if act == "hang":
            await self._ending.wait()
        if act == "drop":
            request.transport.abort()
        if act == "empty body":
            return web.Response(body=b"")
        if act == "half":
            return web.Response(body=b'{"data": [{"data": [[0.5,', content_type="application/json")
        if act == "retry later":
            return web.json_response({}, status=429, headers={"Retry-After": "0.05"})
        answer, status = self._answer(body)
        return web.json_response(_spoilt(act, answer), status=status)

    def _answer(self, body):
        task = body.get("task", None if self.needs_task else self.tasks[0])
        if task not in self.tasks:
            message = f"Unsupported task: {task!r} Supported tasks: {self.tasks}"
            return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": 400}}, 400
        text = body["input"] if "input" in body else self._chat(body["messages"])
        ids = self._tokenizer.encode(text, add_special_tokens=body["add_special_tokens"]).ids
        if len(ids) > self.max_model_len:
            message = (
                f"This model's maximum context length is {self.max_model_len} tokens. However, you requested "
                f"{len(ids)} tokens in the input. Please reduce the length of the input."
            )
            return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": 400}}, 400
        rows = self._rows(ids)
        if self.step_tag is not None:
            tag = self._tokenizer.token_to_id(self.step_tag)
            rows = [row for row, number in zip(rows, ids, strict=True) if number == tag]
        return {
            "id": "pool-1",
            "object": "list",
            "created": 1,
            "model": body["model"],
            "data": [{"index": 0, "object": "pooling", "data": rows}],
            "usage": {"prompt_tokens": len(ids), "total_tokens": len(ids), "completion_tokens": 0},
        }, 200

    def _chat(self, messages):
        """Write the chat as the folder's own template does."""
        from transformers import PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast.from_pretrained(self._folder)
        return tokenizer.apply_chat_template(messages, tokenize=False)

    def _rows(self, ids):
        """Return a row for each token: two labels, or a language model's logits where it is set up as one."""
        with self._torch.inference_mode():
            hidden = self._backbone(input_ids=self._torch.tensor([ids])).last_hidden_state[0]
            if self.softmax == "vocabulary":
                return (hidden @ self._weights["lm_head.weight"].T).tolist()
            inner = (hidden @ self._weights["score.0.weight"].T + self._weights["score.0.bias"]).relu()
            logits = inner @ self._weights["score.2.weight"].T + self._weights["score.2.bias"]
            return (logits.softmax(dim=-1) if self.softmax else logits).tolist()


class TinyShepherdServer(TinyPRMServer):
    """The same for a Math-Shepherd: two rows of the language model's head make a classifier, as vLLM is told to."""

    def _load(self, folder: Path) -> None:
        import torch
        from tokenizers import Tokenizer
        from transformers import MistralForCausalLM

        self.step_tag = "▁ки"
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._model = MistralForCausalLM.from_pretrained(folder).eval()
        self._torch = torch

    def _rows(self, ids):
        with self._torch.inference_mode():
            logits = self._model(self._torch.tensor([ids])).logits[0]
        if self.softmax == "vocabulary":
            return logits[:, :50].tolist()
        chosen = logits[:, [self._tokenizer.token_to_id(token) for token in ("▁-", "▁+")]]
        return (chosen.softmax(dim=-1) if self.softmax else chosen).tolist()


def _refusal(status: int, message: str):
    from aiohttp import web

    body = {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}
    return web.json_response(body, status=status)


def _spoilt(act, answer):
    if act == "one row less":
        answer["data"][0]["data"].pop()
    if act == "nulls":
        answer["data"][0]["data"][0] = [None, None]
    return {"error": {"message": "engine is dead"}} if act == "error in 200" else answer
