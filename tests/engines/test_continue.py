"""A real vLLM goes on with answers that were cut off: at temperature 0, to the uncut ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
from engine_world import settings

import gradatim as gr
from gradatim.library import furthers
from gradatim.work.opening import engine_settings, open_model
from pools import pool_library
from tiny_lm import make_lm

CUT, WHOLE = 9, 48
ROWS = (
    "SELECT question, content, finish_reason, completion_tokens, further FROM attempts WHERE sampling LIKE ? ORDER BY 1"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny chat model of a width that vLLM's attention for processors takes, which writes printable ASCII alone.

    What is sent back is text: halves of characters, and the special tokens that vLLM leaves out, are not in it.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = make_lm(tmp_path_factory.mktemp("lm") / "lm", width=128)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    with torch.no_grad():
        for number, token in enumerate(tokenizer.convert_ids_to_tokens(range(len(tokenizer)))):
            if number != tokenizer.eos_token_id and not (len(token) == 1 and token.isascii()):
                model.lm_head.weight[number, 0] = -5000.0
    model.save_pretrained(path)
    return path


def test_a_continued_answer_of_vllm_is_the_uncut_one(folder, tmp_path):
    """Asked with `continue_final_message`, vLLM writes the rest of each answer, and its prompt holds the first half."""
    made = settings("vllm", folder)
    model = open_model(made, log=tmp_path / "vllm.log")
    engine = replace(engine_settings(made), tries=2)
    with pool_library(tmp_path, 20) as library:
        asked = {"temperature": 0.0, "max_tokens": CUT}
        kept = gr.attempt(library, model, gr.AttemptSettings(**asked), engine=engine)
        assert kept.cut_off.first > 10
        more = gr.AttemptSettings(**asked, truncated="continue", truncated_max_tokens=WHOLE)
        done = gr.attempt(library, model, more, engine=engine)
        gr.attempt(library, model, gr.AttemptSettings(temperature=0.0, max_tokens=WHOLE), engine=engine)
        short, whole = (library.all(ROWS, (f'%"max_tokens": {limit},%',)) for limit in (CUT, WHOLE))
        seen = library.all("SELECT kind, first_content, content, prompt_tokens, first_prompt_tokens FROM furthers")
        assert (done.faults, done.cut_off.anew, done.left_further) == ({}, 0, 0), seen
        continued = [number for number, row in enumerate(short) if row[4] == furthers.CONTINUED]
        assert len(continued) > 10
        assert [short[number][:4] for number in continued] == [whole[number][:4] for number in continued]
        # vLLM read the chat and the first half, and no token more.
        more = "prompt_tokens - first_prompt_tokens - first_completion_tokens"
        assert library.all(f"SELECT DISTINCT {more} FROM furthers WHERE kind = 'continued'") == [(0,)]
