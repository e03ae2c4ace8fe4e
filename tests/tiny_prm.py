"""A tiny PRM of the published architecture, in a folder laid out and named as the published checkpoint is.

Real in everything but size: a byte-level BPE tokenizer with Qwen2's rule, control tokens and ChatML template, Qwen2
weights under the real names (the unused `lm_head.weight` included), a two-layer head with two labels. The weights are
random, and drawn wide enough that steps get scores well apart.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' %}"
    "{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}"
    "{{- '<|im_start|>system\\nPlease reason step by step, "
    "and put your final answer within \\\\boxed{}.<|im_end|>\\n' }}"
    "{%- endif %}"
    "{%- for message in messages %}"
    "{%- if (message.role == 'user') or (message.role == 'system' and not loop.first) "
    "or (message.role == 'assistant') %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""Qwen2.5-Math's template without its branches for tools."""

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<extra_0>", "<extra_1>")
WIDTH = 32
CONTEXT = 512
PARTS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where Qwen2's tokenizers part a text. transformers reads each tokenizer of a Qwen2 folder so, whatever it says."""

_WORDS = (
    "Please reason step by step, and put your final answer within \\boxed{}. system user assistant\n",
    "Natalia sold 48/2 = 24 clips in May. Natalia sold 48+24 = 72 clips altogether.\n\n#### 72",
    "First we add the numbers, then we divide by two. So the answer is \\boxed{42}. \\frac{1}{2} + x^2 = $y$",
)


def make_prm(
    folder: Path, *, seed: int = 0, head_scale: float = 1.0, shards: int = 1, heads: tuple[int, int] = (4, 2)
) -> Path:
    """Write the PRM to `folder` and return it. `head_scale` 1e4 makes one that is so sure that its scores underflow.

    `heads` are those of attention, and how many of them have keys and values. vLLM on a processor takes no narrower
    ones than 32, so (1, 1).
    """
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    vocabulary = write_tokenizer(folder)
    config = _config(vocabulary, heads)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = _tensors(config, seed)
    for name in ("score.2.weight", "score.2.bias"):
        tensors[name] = tensors[name] * head_scale
    tensors = {name: tensor.to(torch.float32).contiguous() for name, tensor in tensors.items()}
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    where = {name: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, name in enumerate(sorted(tensors))}
    for file in set(where.values()):
        part = {name: tensor for name, tensor in tensors.items() if where[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def rewrite(folder: Path, *, drop=(), add=None) -> None:
    """Write the folder's one weight file again, without some tensors and with others."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    tensors = {name: tensor for name, tensor in load_file(file).items() if name not in drop}
    save_file(tensors | (add or {}), file, metadata={"format": "pt"})


def reference_scores(folder: Path, prompt: str, steps) -> list[float]:
    """Score one solution by the model card's recipe: template, tokenizer, backbone, head; alone and in float32."""
    import torch
    from safetensors.torch import load_file
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2Model

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    chat = [
        {"role": "system", "content": "Please reason step by step, and put your final answer within \\boxed{}."},
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": "<extra_0>".join(step.strip() for step in steps) + "<extra_0>"},
    ]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=False)
    ids = tokenizer.encode(text)
    weights = {
        name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()
    }
    backbone = Qwen2Model(Qwen2Config.from_pretrained(folder)).eval()
    backbone.load_state_dict({n.removeprefix("model."): t for n, t in weights.items() if n.startswith("model.")})
    with torch.inference_mode():
        hidden = backbone(input_ids=torch.tensor([ids])).last_hidden_state[0]
        inner = torch.relu(hidden @ weights["score.0.weight"].T + weights["score.0.bias"])
        labels = (inner @ weights["score.2.weight"].T + weights["score.2.bias"]).softmax(dim=-1)
    tag = tokenizer.convert_tokens_to_ids("<extra_0>")
    return [labels[i, 1].item() for i, number in enumerate(ids) if number == tag]


def write_tokenizer(folder: Path) -> int:
    """Write a byte-level BPE tokenizer with Qwen's control tokens; return how many tokens it has."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PARTS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False, special_tokens=[])
    tokenizer.train_from_iterator(_WORDS, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": TEMPLATE,
        "pad_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer.get_vocab_size()


def _config(vocabulary: int, heads: tuple[int, int]) -> dict:
    return {
        "architectures": ["Qwen2ForProcessRewardModel"],
        "auto_map": {"AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel"},
        "model_type": "qwen2",
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "max_position_embeddings": CONTEXT,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "sliding_window": None,
        "use_sliding_window": False,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "use_cache": False,
        "vocab_size": vocabulary,
    }


def _tensors(config: dict, seed: int) -> dict:
    """Return every tensor of the published checkpoint at this size, random."""
    import torch

    width, inner, heads = WIDTH, config["intermediate_size"], config["num_attention_heads"]
    narrow = width // heads * config["num_key_value_heads"]
    shapes = {
        "model.embed_tokens.weight": (config["vocab_size"], width),
        "lm_head.weight": (config["vocab_size"], width),
    }
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for name, rows in (("q", width), ("k", narrow), ("v", narrow)):
            shapes[f"{at}self_attn.{name}_proj.weight"] = (rows, width)
            shapes[f"{at}self_attn.{name}_proj.bias"] = (rows,)
        shapes[f"{at}self_attn.o_proj.weight"] = (width, width)
        shapes[f"{at}mlp.gate_proj.weight"] = shapes[f"{at}mlp.up_proj.weight"] = (inner, width)
        shapes[f"{at}mlp.down_proj.weight"] = (width, inner)
        shapes[f"{at}input_layernorm.weight"] = shapes[f"{at}post_attention_layernorm.weight"] = (width,)
    shapes |= {"model.norm.weight": (width,), "score.0.weight": (width, width), "score.0.bias": (width,)}
    shapes |= {"score.2.weight": (2, width), "score.2.bias": (2,)}
    made = torch.Generator().manual_seed(seed)
    return {
        name: torch.ones(shape) if "norm" in name else torch.randn(shape, generator=made) * 0.3
        for name, shape in shapes.items()
    }
