"""A Llama model in one GGUF file, as llama.cpp writes it.

  u32 magic "GGUF", u32 version (2 or 3), u64 tensors, u64 keys, all little-endian
  keys      name, u32 type, value; an array is u32 type, u64 count, values; a text u64 bytes, UTF-8
  tensors   name, u32 dimensions, u64 each (innermost first), u32 type, u64 offset
  data      from the next multiple of `general.alignment` (32) on

Weights of any type are undone to the type computed in, by the package `gguf`. Those of q and k have
the pairs that RoPE turns as neighbours, and are reordered. The tokenizer is made of the file's
vocabulary and merges, for byte-level BPE ("gpt2") with one of the ways to split a text beforehand
that `_SPLITS` names. The header is read here: the package takes seconds for a vocabulary.
"""

from collections.abc import Callable
import dataclasses
import math
import mmap
import pathlib
import struct
from typing import Any

import numpy as np

from sae_jax import errors
from sae_jax.lm import extras, llama, rope, tokens

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_SPLITS = ("gpt-2", "smollm", "llama-bpe")
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_STRING, _ARRAY = 8, 9
_CONTROL, _USER_DEFINED = 3, 4


def load(path: str, dtype: str = "float32", name: str = "") -> llama.Llama:
    """Returns the model in a file.

    Args:
      path: of the .gguf file.
      dtype: "float32" or "bfloat16", to compute in.
      name: of the model; empty: that of the file.

    Raises:
      errors.DataError: if the file is damaged, of another architecture or tokenizer.
    """
    if not path:
        raise errors.DataError("the language model gguf needs --config.lm.path=FILE.gguf")
    file = pathlib.Path(path).expanduser()
    gguf = extras.library("gguf")
    content = read(file)
    keys = content.keys
    if keys.get("general.architecture") != "llama":
        raise errors.DataError(
            f"{file}: architecture {keys.get('general.architecture')!r} is not supported, llama is"
        )
    config = _sizes(content, dtype)
    heads = {"attn_q": config.n_heads, "attn_k": config.n_kv_heads}

    def tensor(hugging_face: str) -> np.ndarray:
        part = hugging_face.removesuffix(".weight")
        block = ""
        if part.startswith("model.layers."):
            _, _, number, part = part.split(".", 3)
            block = f"blk.{number}."
        own = _NAMES[part]
        array = content.tensor(f"{block}{own}.weight", gguf.quants.dequantize)
        return rope.halves(array, heads[own]) if own in heads else array

    frequency = _frequency(content, config, gguf.quants.dequantize)
    return llama.build(name or file.stem, config, _tokenizer(content), frequency, tensor)


@dataclasses.dataclass(frozen=True)
class Content:
    """A file, its header read.

    Attributes:
      path: of the file.
      data: its bytes, from the first tensor on.
      keys: what the header states.
      tensors: by name: shape (outermost first), type's number and offset.
    """

    path: pathlib.Path
    data: memoryview
    keys: dict[str, Any]
    tensors: dict[str, tuple[tuple[int, ...], int, int]]

    def key(self, name: str) -> Any:
        """Returns what the header states; raises if it does not."""
        if name not in self.keys:
            raise errors.DataError(f"{self.path} does not state {name}")
        return self.keys[name]

    def tensor(self, name: str, dequantize: Callable[..., np.ndarray]) -> np.ndarray:
        """Returns a tensor as floats, with the axes as in Hugging Face's files."""
        gguf = extras.library("gguf")
        if name not in self.tensors:
            raise errors.DataError(f"{self.path} has no tensor {name}")
        shape, number, offset = self.tensors[name]
        try:
            kind = gguf.GGMLQuantizationType(number)
            per_block, size = gguf.GGML_QUANT_SIZES[kind]
        except (ValueError, KeyError) as error:
            raise errors.DataError(f"{self.path}: {name} is of unknown type {number}") from error
        rows, width = shape[:-1], shape[-1] // per_block * size
        end = offset + math.prod(rows) * width
        if end > len(self.data) or shape[-1] % per_block:
            raise errors.DataError(
                f"{self.path} is truncated: {name} ends {end - len(self.data)} bytes after its end"
            )
        raw = np.frombuffer(self.data[offset:end], np.uint8).reshape(*rows, width)
        try:
            return dequantize(raw, kind)
        except NotImplementedError as error:
            raise errors.DataError(
                f"{self.path}: {name} is of type {kind.name}, which the package gguf cannot undo"
            ) from error


def read(path: pathlib.Path) -> Content:
    """Returns a file with its header read."""
    try:
        with path.open("rb") as file:
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise errors.DataError(f"{path} cannot be read: {error}") from error
    if whole[:4] != b"GGUF":
        raise errors.DataError(f"{path} is no GGUF file")
    try:
        return _header(path, _Cursor(whole))
    except (struct.error, KeyError, ValueError, ZeroDivisionError) as error:
        raise errors.DataError(f"{path}: its header is truncated or damaged: {error}") from error


class _Cursor:
    """Reads one value after the other."""

    def __init__(self, content: memoryview) -> None:
        self.content, self.at = content, 4

    def scalar(self, code: str) -> Any:
        """Returns the next number of a type of `struct`."""
        (found,) = struct.unpack_from(f"<{code}", self.content, self.at)
        self.at += struct.calcsize(f"<{code}")
        return found

    def text(self) -> str:
        """Returns the next text."""
        return bytes(self.take(self.scalar("Q"))).decode()

    def take(self, n: int) -> memoryview:
        """Returns the next `n` bytes."""
        if self.at + n > len(self.content):
            raise ValueError("it ends too early")
        self.at += n
        return self.content[self.at - n : self.at]

    def value(self, kind: int) -> Any:
        """Returns the next value of a type of GGUF."""
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.scalar(_SCALARS[kind])
        inner, count = self.scalar("I"), self.scalar("Q")
        if inner in _SCALARS:
            size = struct.calcsize(f"<{_SCALARS[inner]}")
            return list(struct.unpack(f"<{count}{_SCALARS[inner]}", self.take(count * size)))
        return [self.value(inner) for _ in range(count)]


def _header(path: pathlib.Path, cursor: _Cursor) -> Content:
    """Reads keys and places of tensors."""
    version = cursor.scalar("I")
    if version not in (2, 3):
        raise errors.DataError(f"{path}: version {version} of GGUF is not supported, 2 and 3 are")
    n_tensors, n_keys = cursor.scalar("Q"), cursor.scalar("Q")
    keys, tensors = {}, {}
    for _ in range(n_keys):
        name = cursor.text()
        keys[name] = cursor.value(cursor.scalar("I"))
    for _ in range(n_tensors):
        name = cursor.text()
        shape = tuple(cursor.scalar("Q") for _ in range(cursor.scalar("I")))
        tensors[name] = (shape[::-1], cursor.scalar("I"), cursor.scalar("Q"))
    start = -(-cursor.at // (alignment := keys.get("general.alignment", 32))) * alignment
    return Content(path, cursor.content[start:], keys, tensors)


def _sizes(content: Content, dtype: str) -> llama.Config:
    """Returns the sizes that the header states."""

    def key(name: str) -> Any:
        return content.key(f"llama.{name}")

    heads, d_model = key("attention.head_count"), key("embedding_length")
    d_head = content.keys.get("llama.attention.key_length", d_model // heads)
    if content.keys.get("llama.rope.dimension_count", d_head) != d_head:
        raise errors.DataError(f"{content.path}: RoPE turns a part of each head: not supported")
    return llama.Config(
        n_layers=key("block_count"),
        d_model=d_model,
        n_heads=heads,
        n_kv_heads=content.keys.get("llama.attention.head_count_kv", heads),
        d_head=d_head,
        d_mlp=key("feed_forward_length"),
        vocab=len(content.key("tokenizer.ggml.tokens")),
        context=key("context_length"),
        epsilon=key("attention.layer_norm_rms_epsilon"),
        tied="output.weight" not in content.tensors,
        dtype=dtype,
    )


def _frequency(
    content: Content, config: llama.Config, dequantize: Callable[..., np.ndarray]
) -> np.ndarray:
    """Returns the frequencies of RoPE, `[d_head / 2]`; a file has changed ones as divisors."""
    keys = content.keys
    kind = keys.get("llama.rope.scaling.type", "none")
    scaling = {"rope_type": "default" if kind == "none" else kind}
    scaling["factor"] = keys.get("llama.rope.scaling.factor", 1.0)
    base = keys.get("llama.rope.freq_base", 10000.0)
    found = rope.frequencies(config.d_head, base, scaling)
    if "rope_freqs.weight" in content.tensors:
        found = found / content.tensor("rope_freqs.weight", dequantize)
    return found


def _tokenizer(content: Content) -> tokens.Tokens:
    """Returns the tokenizer that the header describes."""
    library, keys = extras.library("tokenizers"), content.keys
    model, split = keys.get("tokenizer.ggml.model"), keys.get("tokenizer.ggml.pre", "gpt-2")
    if model is None:
        raise errors.DataError(f"{content.path} has no tokenizer: take a file that has one")
    if model != "gpt2" or split not in _SPLITS:
        raise errors.DataError(
            f"{content.path}: tokenizer {model!r} with splits {split!r} is not supported; "
            f"'gpt2' with {', '.join(_SPLITS)} is"
        )
    vocabulary = content.key("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in content.key("tokenizer.ggml.merges")]
    found = library.Tokenizer(
        library.models.BPE(
            vocab={text: i for i, text in enumerate(vocabulary)},
            merges=merges,
            ignore_merges=split == "llama-bpe",
        )
    )
    pre = library.pre_tokenizers
    before: list[Any] = []
    if split == "smollm":
        before = [pre.Digits(individual_digits=True)]
    elif split == "llama-bpe":
        before = [pre.Split(library.Regex(_LLAMA_3), "isolated")]
    bytes_ = pre.ByteLevel(add_prefix_space=False, use_regex=split != "llama-bpe")
    found.pre_tokenizer = pre.Sequence([*before, bytes_])
    found.decoder = library.decoders.ByteLevel()
    types = keys.get("tokenizer.ggml.token_type", [])
    for kind, special in ((_CONTROL, True), (_USER_DEFINED, False)):
        added = [
            library.AddedToken(text, normalized=False, special=special)
            for text, own in zip(vocabulary, types, strict=False)
            if own == kind
        ]
        found.add_tokens(added)
    bos = keys.get("tokenizer.ggml.bos_token_id")
    # What llama.cpp does where a file does not say: files of Llama 3 do not.
    starts = keys.get("tokenizer.ggml.add_bos_token", split == "llama-bpe")
    return tokens.Tokens(
        found,
        bos,
        keys.get("tokenizer.ggml.eos_token_id"),
        keys.get("tokenizer.ggml.padding_token_id"),
        bos is not None and bool(starts),
    )
