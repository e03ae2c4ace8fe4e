"""A chat server on a real socket that runs a tiny Llama and gives log probabilities; set its attributes to spoil it.

It reads a chat as vLLM does: by the model's own template, and answers with the likeliest token and those beside it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from faulty_server import FaultyServer, refusal

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "Tiny-Critic"


class TinyChatServer(FaultyServer):
    """Use as a context manager; `url` is where it listens."""

    MODEL = MODEL
    PATH = "/v1/chat/completions"
    HALF = b'{"choices": [{"logprobs"'

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.logprobs = True
        self.most_top = 20
        self.takes_max_tokens = True
        self.written = []
        """Tokens of an analysis that it writes before its label, each of its vocabulary; `<|eot_id|>` ends it."""
        self._tokenizer, self._model = loaded(folder)

    def _text(self, body) -> str:
        return "".join(turn["content"] for turn in body["messages"])

    def _answered(self, act, body):
        from aiohttp import web

        if act == "no credit":
            return web.json_response({"error": {"message": "pay", "code": "insufficient_quota"}}, status=429)
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
        ended = len(rows) > len(self.written) or rows[-1]["token"] == "<|eot_id|>"
        choice["finish_reason"] = "stop" if ended else "length"
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
