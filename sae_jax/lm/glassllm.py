"""glassllm: a tiny Llama of the Python package of that name (MIT), for tests and quick starts.

4 blocks, d_model 128, 4 heads on 2 of keys, vocabulary 1,024, 852,608 parameters, a context of 128
tokens, trained on 229,390 tokens of Lewis Carroll ("en") or 694,356 of Machado de Assis ("pt").
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np

from sae_jax import errors
from sae_jax.lm import extras, llama, rope

_LAYER = {
    "input_layernorm": "norm1.gamma",
    "self_attn.q_proj": "attn.W_Q",
    "self_attn.k_proj": "attn.W_K",
    "self_attn.v_proj": "attn.W_V",
    "self_attn.o_proj": "attn.W_O",
    "post_attention_layernorm": "norm2.gamma",
    "mlp.gate_proj": "ffn.W1",
    "mlp.up_proj": "ffn.W3",
    "mlp.down_proj": "ffn.W2",
}


def load(language: str = "en", dtype: str = "float32") -> llama.Llama:
    """Returns the model.

    Args:
      language: "en" or "pt".
      dtype: "float32" or "bfloat16", to compute in.
    """
    glassllm = extras.library("glassllm")
    if language not in glassllm.LANGUAGES:
        raise errors.UserError(f"language={language!r}: glassllm has {glassllm.LANGUAGES}")
    model, tokenizer = glassllm.load_pretrained(language)
    sizes, weights = model.cfg, model.named_parameters()
    d_head = sizes.d_model // sizes.n_heads
    config = llama.Config(
        n_layers=sizes.n_layers,
        d_model=sizes.d_model,
        n_heads=sizes.n_heads,
        n_kv_heads=sizes.n_kv_heads,
        d_head=d_head,
        d_mlp=weights["blocks.0.ffn.W1"].shape[1],
        vocab=sizes.vocab_size,
        context=sizes.max_len,
        epsilon=sizes.eps,
        tied=True,
        dtype=dtype,
    )
    heads = {"attn.W_Q": sizes.n_heads, "attn.W_K": sizes.n_kv_heads}

    def read(name: str) -> np.ndarray:
        if name in ("model.embed_tokens.weight", "model.norm.weight"):
            return weights["E" if "embed" in name else "norm_f.gamma"].data
        _, _, block, part = name.removesuffix(".weight").split(".", 3)
        own = _LAYER[part]
        array = weights[f"blocks.{block}.{own}"].data.T
        return rope.halves(array, heads[own]) if own in heads else array

    frequency = rope.frequencies(d_head, sizes.rope_base)
    return llama.build(f"glassllm-{language}", config, Tokens(tokenizer), frequency, read)


@dataclasses.dataclass(frozen=True, eq=False)
class Tokens:
    """The package's own tokenizer.

    Attributes:
      tokenizer: `glassllm.Tokenizer`.
    """

    tokenizer: Any
    bos: int | None = 2
    eos: int | None = 3
    pad: int | None = 0
    # It was trained on windows of one long text.
    starts_with_bos: bool = False

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text."""
        return self.tokenizer.encode(text)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Returns the text of ids, special tokens left out."""
        return self.tokenizer.decode([int(i) for i in ids])

    def token_text(self, token: int) -> str:
        """Returns one token as it stands in a text, with the space before it."""
        return self.tokenizer.vocab[int(token)].replace("▁", " ")
