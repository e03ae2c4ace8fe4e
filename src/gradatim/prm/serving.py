"""How vLLM is started so that its `/pooling` gives a family's scores: the arguments behind the model's.

`pooling_type` is the word of all versions; since 0.11 it stands for `tok_pooling_type`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gradatim.prm.qwen import STEP_TAG

if TYPE_CHECKING:
    from pathlib import Path

_SHEPHERD_TAG, _SHEPHERD_LABELS = "▁ки", ["▁-", "▁+"]
_TAGS = {"qwen": (STEP_TAG, 151651), "reasonflux": (STEP_TAG, 151651), "math-shepherd": (_SHEPHERD_TAG, 12902)}
"""For each family its step tag, and the tag's id in the published models."""


def arguments(kind: str, folder: Path) -> tuple[str, ...]:
    """Return the arguments for a family that has a server; ids are those of the folder's tokenizer, if it is one."""
    tag, published = _TAGS[kind]
    pooler = {"pooling_type": "STEP", "step_tag_id": _id_of(tag, folder, published)}
    made = ["--runner", "pooling", "--pooler-config", json.dumps(pooler)]
    if kind == "math-shepherd":
        # Two rows of the language model's head become a classifier's.
        overrides = {"classifier_from_token": _SHEPHERD_LABELS, "method": "no_post_processing"}
        made += ["--convert", "classify", "--hf-overrides", json.dumps(overrides, ensure_ascii=False)]
    return tuple(made)


def _id_of(token: str, folder: Path, published: int) -> int:
    """Return a token's id; the published one for an id of the hub, or a folder that vLLM itself will refuse."""
    try:
        tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        for added in tokenizer["added_tokens"]:
            if added["content"] == token:
                return int(added["id"])
        return int(tokenizer["model"]["vocab"].get(token, published))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return published
