"""A small server on a real socket that speaks vLLM's `/pooling`, and runs a tiny PRM to answer it.

It takes the text as vLLM does: tokenizes it with the model's tokenizer, runs the model over it alone, picks the rows at
the step tag that it is set up with. The computation is its own, and shares nothing with what is tested. Set its
attributes to set it up wrongly, and `faults` to make single texts fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faulty_server import FaultyServer

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "Qwen/Tiny-PRM"
TASKS = ("token_embed", "token_classify")


class TinyPRMServer(FaultyServer):
    """Use as a context manager; `url` is where it listens."""

    MODEL = MODEL
    PATH = "/pooling"
    HALF = b'{"data": [{"data": [[0.5,'

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.tasks = TASKS
        self.needs_task = False
        self.step_tag = "<extra_0>"
        self.softmax = True
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

    def _text(self, body) -> str:
        return body["input"] if "input" in body else str(body["messages"])

    def _answered(self, act, body):
        from aiohttp import web

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


def _spoilt(act, answer):
    if act == "one row less":
        answer["data"][0]["data"].pop()
    if act == "nulls":
        answer["data"][0]["data"][0] = [None, None]
    return {"error": {"message": "engine is dead"}} if act == "error in 200" else answer
