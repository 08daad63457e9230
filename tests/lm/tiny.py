"""A random Llama small enough to be written by a test, and its formulas again in NumPy."""

import json
import pathlib

import numpy as np

SIZES = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "vocab_size": 40,
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100.0,
    "tie_word_embeddings": False,
}
LETTERS = "abcdefghijklmnopqrstuvwxyz .,"
LLAMA_3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def weights(sizes=SIZES, seed=0):
    """Returns random tensors under the names of Hugging Face."""
    random = np.random.RandomState(seed)
    d, d_mlp = sizes["hidden_size"], sizes["intermediate_size"]
    q = sizes["num_attention_heads"] * sizes["head_dim"]
    kv = sizes["num_key_value_heads"] * sizes["head_dim"]
    shapes = {"model.embed_tokens": (sizes["vocab_size"], d), "model.norm": (d,)}
    if not sizes["tie_word_embeddings"]:
        shapes["lm_head"] = (sizes["vocab_size"], d)
    for i in range(sizes["num_hidden_layers"]):
        shapes |= {
            f"model.layers.{i}.{name}": shape
            for name, shape in {
                "input_layernorm": (d,),
                "post_attention_layernorm": (d,),
                "self_attn.q_proj": (q, d),
                "self_attn.k_proj": (kv, d),
                "self_attn.v_proj": (kv, d),
                "self_attn.o_proj": (d, q),
                "mlp.gate_proj": (d_mlp, d),
                "mlp.up_proj": (d_mlp, d),
                "mlp.down_proj": (d, d_mlp),
            }.items()
        }
    return {
        f"{name}.weight": (
            random.standard_normal(shape) * 0.4 + (1.0 if len(shape) == 1 else 0.0)
        ).astype(np.float32)
        for name, shape in shapes.items()
    }


def tokenizer(vocab=40):
    """Returns byte-level BPE of single letters, with <s>, </s> and <pad> before them."""
    import tokenizers

    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    kept = [c for c in alphabet if c in LETTERS.replace(" ", "Ġ")]
    texts = ["<s>", "</s>", "<pad>", *kept, "Ġt", "he"]
    ids = {text: i for i, text in enumerate(texts)}
    assert len(ids) <= vocab
    found = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=ids, merges=[("Ġ", "t"), ("h", "e")]))
    found.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = tokenizers.decoders.ByteLevel()
    found.add_special_tokens(["<s>", "</s>", "<pad>"])
    return found


def write(folder: pathlib.Path, sizes=SIZES, tensors=None, shards=1):
    """Writes the model as Hugging Face does; returns its tensors."""
    import safetensors.numpy

    folder.mkdir(parents=True, exist_ok=True)
    tensors = weights(sizes) if tensors is None else tensors
    (folder / "config.json").write_text(json.dumps(sizes))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": "<pad>"})
    )
    tokenizer().save(str(folder / "tokenizer.json"))
    if shards == 1:
        safetensors.numpy.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return tensors
    names = sorted(tensors)
    of = {name: f"model-{i % shards}.safetensors" for i, name in enumerate(names)}
    for file in set(of.values()):
        part = {name: tensors[name] for name in names if of[name] == file}
        safetensors.numpy.save_file(part, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": of}))
    return tensors


def forward(sizes, tensors, ids, neighbours=False):
    """Returns float64 logits `[length, vocab]` and all activations of one row without padding.

    `neighbours`: whether RoPE turns pairs of neighbours, as in GGUF, not the halves of a head.
    """
    w = {name.removesuffix(".weight"): np.float64(tensor) for name, tensor in tensors.items()}
    heads, kv_heads, d = (
        sizes[name] for name in ("num_attention_heads", "num_key_value_heads", "head_dim")
    )
    frequency = sizes["rope_theta"] ** (-np.arange(d // 2) * 2.0 / d)
    frequency = _stretched(frequency, sizes.get("rope_scaling"))
    sites, x = {}, w["model.embed_tokens"][ids]
    for i in range(sizes["num_hidden_layers"]):
        p = f"model.layers.{i}"
        sites[f"resid_pre.{i}"] = x
        h = _norm(x, w[f"{p}.input_layernorm"], sizes)
        z = np.zeros((len(ids), heads, d))
        for head in range(heads):
            shared = head // (heads // kv_heads)
            q = _turn(h @ _rows(w[f"{p}.self_attn.q_proj"], head, d).T, frequency, neighbours)
            k = _turn(h @ _rows(w[f"{p}.self_attn.k_proj"], shared, d).T, frequency, neighbours)
            v = h @ _rows(w[f"{p}.self_attn.v_proj"], shared, d).T
            for t in range(len(ids)):
                scores = k[: t + 1] @ q[t] / np.sqrt(d)
                share = np.exp(scores - scores.max())
                z[t, head] = share / share.sum() @ v[: t + 1]
        sites[f"z.{i}"] = z.reshape(len(ids), -1)
        sites[f"attn_out.{i}"] = sites[f"z.{i}"] @ w[f"{p}.self_attn.o_proj"].T
        sites[f"resid_mid.{i}"] = x = x + sites[f"attn_out.{i}"]
        sites[f"mlp_in.{i}"] = h = _norm(x, w[f"{p}.post_attention_layernorm"], sizes)
        gate = h @ w[f"{p}.mlp.gate_proj"].T
        hidden = gate / (1 + np.exp(-gate)) * (h @ w[f"{p}.mlp.up_proj"].T)
        sites[f"mlp_hidden.{i}"] = hidden
        sites[f"mlp_out.{i}"] = hidden @ w[f"{p}.mlp.down_proj"].T
        sites[f"resid_post.{i}"] = x = x + sites[f"mlp_out.{i}"]
    out = w["model.embed_tokens" if sizes["tie_word_embeddings"] else "lm_head"]
    return _norm(x, w["model.norm"], sizes) @ out.T, sites


def _norm(x, weight, sizes):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + sizes["rms_norm_eps"]) * weight


def _rows(matrix, head, d):
    return matrix[head * d : (head + 1) * d]


def _turn(x, frequency, neighbours):
    """Turns pairs of numbers, as complex ones."""
    n = len(frequency)
    first, second = (
        (slice(0, None, 2), slice(1, None, 2)) if neighbours else (slice(n), slice(n, None))
    )
    angles = np.outer(np.arange(len(x)), frequency)
    turned = (x[:, first] + 1j * x[:, second]) * np.exp(1j * angles)
    found = np.empty_like(x)
    found[:, first], found[:, second] = turned.real, turned.imag
    return found


def _stretched(frequency, scaling):
    if scaling is None:
        return frequency
    if scaling.get("type") == "linear":
        return frequency / scaling["factor"]
    long, short = (
        scaling["original_max_position_embeddings"] / scaling[name]
        for name in ("low_freq_factor", "high_freq_factor")
    )
    found = []
    for f in frequency:
        wave = 2 * np.pi / f
        if wave < short:
            found.append(f)
        elif wave > long:
            found.append(f / scaling["factor"])
        else:
            turns = scaling["original_max_position_embeddings"] / wave
            smooth = (turns - scaling["low_freq_factor"]) / (
                scaling["high_freq_factor"] - scaling["low_freq_factor"]
            )
            found.append((1 - smooth) * f / scaling["factor"] + smooth * f)
    return np.array(found)
