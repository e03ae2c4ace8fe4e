"""Tiny PRMs of the other families, in folders laid out and named as the published checkpoints are.

Real in everything but size: the families' own special tokens (Mistral's with their real ids), transformers' own classes
where there are any, weights under the published names. The weights are random, wide enough that steps get scores well
apart.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import tiny_prm

if TYPE_CHECKING:
    from pathlib import Path

MISTRAL_IDS = {"<unk>": 0, "<s>": 1, "</s>": 2, "▁-": 387, "▁+": 648, "▁ки": 12902}
"""Where Mistral's vocabulary of 32,000 has the tokens that Math-Shepherd needs."""
_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;=()?!'\\{}^/*<>|_$+-éкитайш"


def make_skywork(folder: Path, *, bos: str | None = "<|endoftext|>", head_scale: float = 1.0) -> Path:
    """Write a Skywork-o1-Open-PRM: Qwen2 under its own class's name, `v_head` beside an `lm_head` that is not read."""
    import torch
    from safetensors.torch import load_file, save_file

    tiny_prm.make_prm(folder)
    change(folder, "config.json", architectures=["Qwen2ForPrmModel"], auto_map=None)
    change(folder, "tokenizer_config.json", bos_token=bos)
    tensors = {n: t for n, t in load_file(folder / "model.safetensors").items() if not n.startswith("score.")}
    made = torch.Generator().manual_seed(5)
    tensors["v_head.summary.weight"] = torch.randn((1, tiny_prm.WIDTH), generator=made) * 0.4 * head_scale
    tensors["v_head.summary.bias"] = torch.full((1,), 0.1)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def make_shepherd(folder: Path, *, seed: int = 0, head_scale: float = 1.0, pickled: bool = False) -> Path:
    """Write a Math-Shepherd: transformers' own MistralForCausalLM; `pickled` writes .bin files, as it was published."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(seed)
    config = MistralConfig(
        vocab_size=32000,
        hidden_size=tiny_prm.WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=tiny_prm.CONTEXT,
        sliding_window=None,
        initializer_range=0.4,
    )
    model = MistralForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight *= head_scale
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    if pickled:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    write_mistral_tokenizer(folder)
    return folder


def write_mistral_tokenizer(folder: Path, *, without: str = "") -> None:
    """Write a tokenizer as Mistral's is: characters with `▁` for a blank, bytes for the rest, `<s>` before a text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    ids = {token: number for token, number in MISTRAL_IDS.items() if token != without}
    vocabulary = ids | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    for number, character in enumerate(["▁", "▁к", *sorted(set(_CHARACTERS))]):
        vocabulary[character] = 28000 + number
    taken = set(vocabulary.values())
    vocabulary |= {f"<filler_{number}>": number for number in range(32000) if number not in taken}
    merges = [("▁", "к"), ("▁к", "и"), ("▁", "+"), ("▁", "-")]
    merges = [pair for pair in merges if "".join(pair) != without]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "model_max_length": 32768,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def make_classifier(folder: Path, *, kind: str = "qwen2", labels: int = 2, bos: str | None = None) -> Path:
    """Write what TRL's PRMTrainer saves: transformers' own token classifier of this kind, and its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForTokenClassification

    folder.mkdir(parents=True)
    size = tiny_prm.write_tokenizer(folder)
    if bos is not None:
        change(folder, "tokenizer_config.json", bos_token=bos)
    config = AutoConfig.for_model(
        kind,
        vocab_size=size,
        hidden_size=tiny_prm.WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=tiny_prm.CONTEXT,
        initializer_range=0.4,
        num_labels=labels,
    )
    torch.manual_seed(1)
    AutoModelForTokenClassification.from_config(config).save_pretrained(folder)
    return folder


def change(folder: Path, name: str, **changes) -> None:
    """Change fields of one of the folder's JSON files; None takes a field out."""
    file = folder / name
    fields = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in fields.items() if value is not None}))
