"""A Llama model in a folder as Hugging Face writes it.

config.json       sizes; its architecture must be LlamaForCausalLM
*.safetensors     model.safetensors, or several with model.safetensors.index.json
tokenizer.json    read by the package `tokenizers`; special tokens are those that
                  tokenizer_config.json names or, where there is none, config.json
"""

from collections.abc import Callable
import json
import pathlib
from typing import Any

import ml_dtypes  # noqa: F401  NumPy learns bfloat16 from it.
import numpy as np
import safetensors

from sae_jax import errors
from sae_jax.lm import extras, llama, rope, tokens

_ARCHITECTURE = "LlamaForCausalLM"


def load(path: str, dtype: str = "float32", name: str = "") -> llama.Llama:
    """Returns the model in the folder `path`.

    Args:
      path: of the folder.
      dtype: "float32" or "bfloat16", to compute in.
      name: of the model; empty: that of the folder.

    Raises:
      errors.DataError: if files are missing or damaged, or the model is of another architecture.
    """
    if not path:
        raise errors.DataError("the language model folder needs --config.lm.path=FOLDER")
    folder = pathlib.Path(path).expanduser()
    if not folder.is_dir():
        raise errors.DataError(f"{folder} is no folder: put config.json and the weights there")
    described = _json(folder / "config.json")
    config = sizes(described, f"{folder / 'config.json'}", dtype)
    frequency = _frequency(described, f"{folder / 'config.json'}", config.d_head)
    tokenizer, read = _tokenizer(folder, described), _reader(folder)
    return llama.build(name or folder.resolve().name, config, tokenizer, frequency, read)


def sizes(described: dict[str, Any], where: str, dtype: str) -> llama.Config:
    """Returns the sizes that a config.json states."""
    found = described.get("architectures") or [described.get("model_type", "none")]
    if found not in ([_ARCHITECTURE], ["llama"]):
        raise errors.DataError(
            f"{where}: architecture {found[0]} is not supported here, {_ARCHITECTURE} is; the "
            "loader transformers reads others: --config=configs/dumps/transformers.py"
        )
    for key, plain in (("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False)):
        if described.get(key, plain) != plain:
            raise errors.DataError(
                f"{where}: {key}={described[key]!r} is not supported here, {plain!r} is"
            )

    def size(key: str, otherwise: int | None = None) -> int:
        found = described.get(key)
        found = otherwise if found is None else found
        if found is None:
            raise errors.DataError(f"{where} does not state {key}")
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise errors.DataError(f"{where}: {key}={found!r} is no number of them")
        return found

    heads, d_model = size("num_attention_heads"), size("hidden_size")
    return llama.Config(
        n_layers=size("num_hidden_layers"),
        d_model=d_model,
        n_heads=heads,
        n_kv_heads=size("num_key_value_heads", heads),
        d_head=size("head_dim", max(1, d_model // heads)),
        d_mlp=size("intermediate_size"),
        vocab=size("vocab_size"),
        context=size("max_position_embeddings", 2048),
        epsilon=_real(described, where, "rms_norm_eps", 1e-6),
        tied=bool(described.get("tie_word_embeddings", False)),
        dtype=dtype,
    )


def _real(described: dict[str, Any], where: str, key: str, otherwise: float) -> float:
    """Returns a number that a config.json states, or else another."""
    found = described.get(key, otherwise)
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise errors.DataError(f"{where}: {key}={found!r} is no number")
    return float(found)


def _frequency(described: dict[str, Any], where: str, d_head: int) -> np.ndarray:
    """Returns the frequencies of RoPE, `[d_head / 2]`."""
    key = "rope_parameters" if described.get("rope_parameters") else "rope_scaling"
    scaling = described.get(key) or {}
    if not isinstance(scaling, dict):
        raise errors.DataError(f"{where}: {key}={scaling!r} is no JSON object")
    theta = _real(described, where, "rope_theta", 10000.0)
    try:
        return rope.frequencies(d_head, _real(scaling, where, "rope_theta", theta), scaling)
    except errors.DataError as error:
        raise errors.DataError(f"{where}: {error}") from error


def _reader(folder: pathlib.Path) -> Callable[[str], np.ndarray]:
    """Returns what reads a tensor by its name."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.is_file():
        files = {name: folder / file for name, file in _json(index).get("weight_map", {}).items()}
    elif single.is_file():
        files = {}
    else:
        raise errors.DataError(f"no model.safetensors and no index of several in {folder}")
    opened: dict[pathlib.Path, Any] = {}

    def read(name: str) -> np.ndarray:
        path = files.get(name, single)
        try:
            if path not in opened:
                opened[path] = safetensors.safe_open(path, framework="numpy")
            return opened[path].get_tensor(name)
        except (safetensors.SafetensorError, OSError) as error:
            raise errors.DataError(f"{path}: {name} cannot be read: {error}") from error

    return read


def _tokenizer(folder: pathlib.Path, config: dict[str, Any]) -> tokens.Tokens:
    """Returns the tokenizer of a folder whose config.json says `config`."""
    library, path = extras.library("tokenizers"), folder / "tokenizer.json"
    if not path.is_file():
        raise errors.DataError(f"no tokenizer.json in {folder}: save the model's tokenizer there")
    try:
        tokenizer = library.Tokenizer.from_file(str(path))
    except Exception as error:  # The package raises plain Exception.
        raise errors.DataError(f"{path} is damaged: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    beside = folder / "tokenizer_config.json"
    described = _json(beside) if beside.is_file() else None

    def special(key: str) -> int | None:
        if described is None:
            ids = config.get(f"{key}_id")
            ids = ids[:1] if isinstance(ids, list) else [ids]  # Llama 3 has several of EOS.
            return ids[0] if ids and isinstance(ids[0], int) else None
        text = described.get(key)
        text = text.get("content") if isinstance(text, dict) else text
        return None if text is None else tokenizer.token_to_id(text)

    bos, eos, pad = (special(f"{which}_token") for which in ("bos", "eos", "pad"))
    # What tokenizer.json itself puts before a text, by its post-processor.
    first = tokenizer.encode("").ids[:1]
    if bos is None and described is None and first and first != [eos]:
        bos = first[0]
    starts = (described or {}).get("add_bos_token", first == [bos])
    return tokens.Tokens(tokenizer, bos, eos, pad, bos is not None and bool(starts))


def _json(path: pathlib.Path) -> dict[str, Any]:
    """Returns the object in a JSON file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise errors.DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise errors.DataError(f"{path} holds no JSON object")
    return found
