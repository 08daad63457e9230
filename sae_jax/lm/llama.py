"""The Llama family (Touvron et al. 2023, arXiv:2302.13971), as one loop over stacked blocks.

  x = embed[ids]
  block:   h = norm(x);  q, k, v = h wq, h wk, h wv, q and k turned (see `rope`)
           z = softmax(q k^T / sqrt(d_head)) v for each head, over tokens up to the own one
           x = x + z wo
           h = norm(x);  x = x + (silu(h w_gate) * (h w_up)) w_down         (Shazeer 2020, SwiGLU)
  logits = norm(x) unembed, or norm(x) embed^T where they are tied
  norm(x) = x / sqrt(mean(x^2) + epsilon) * weight                 (Zhang & Sennrich 2019, RMSNorm)

Several heads of q may share one of k and v (Ainslie et al. 2023, arXiv:2305.13245).

Norms, angles, softmax and logits are computed in float32 whatever the type of the rest. In float32
matrix products are in float32 on accelerators too, not in what they make of it by default.

What is captured goes into a buffer of as many blocks as are wanted (and one for all others), so
that a site in many blocks costs one compilation of a block, and memory for what is wanted only.
The deepest block that is needed stands behind the loop, so its later half is left out if nothing
there is wanted. Everything runs under `jit` on any mesh: the batch is split as `ids` are.
"""

from collections.abc import Callable, Collection, Mapping
import dataclasses
import functools
import types
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
import ml_dtypes
import numpy as np

from sae_jax import errors
from sae_jax.lm import base, edit, rope
from sae_jax.ops import checksum

Params = dict[str, Any]
Cache = dict[str, jax.Array]
Tap = Callable[[str, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of a model.

    Attributes:
      n_layers: blocks.
      d_model: numbers in the residual stream.
      n_heads: heads of q.
      n_kv_heads: heads of k and v, a divisor of `n_heads`.
      d_head: numbers in a head.
      d_mlp: hidden units of an MLP.
      vocab: tokens.
      context: most tokens in a row.
      epsilon: of the norms.
      tied: whether the output matrix is the embedding.
      dtype: "float32" or "bfloat16", of parameters and activations.
    """

    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_mlp: int
    vocab: int
    context: int
    epsilon: float
    tied: bool
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Refuses sizes that do not go together."""
        if self.dtype not in ("float32", "bfloat16"):
            raise errors.UserError(f'dtype={self.dtype!r}: it must be "float32" or "bfloat16"')
        if self.n_heads % self.n_kv_heads or self.d_head % 2:
            raise errors.DataError(
                f"{self.n_heads} heads of {self.d_head} numbers cannot share {self.n_kv_heads} "
                "heads of keys, or turn in pairs"
            )

    def width(self, kind: str) -> int:
        """Returns how many numbers a site of a kind has."""
        of = {"z": self.n_heads * self.d_head, "mlp_hidden": self.d_mlp}
        return of.get(kind, self.d_model)

    @property
    def precision(self) -> str | None:
        """Of matrix products, as jax names it."""
        return "highest" if self.dtype == "float32" else None


@dataclasses.dataclass(frozen=True, eq=False)
class Llama(base.LanguageModel):
    """A model of the family.

    Attributes:
      config: its sizes.
      params: `embed [vocab, d_model]`, `frequency [d_head / 2]`, `norm [d_model]`, `unembed
        [d_model, vocab]` unless tied, and in `blocks`, stacked on a first axis: `attn_norm`,
        `mlp_norm`, `wq`, `wk`, `wv`, `wo`, `w_gate`, `w_up`, `w_down`, matrices as `[in, out]`.
    """

    config: Config
    params: Params = dataclasses.field(repr=False)

    @functools.cached_property
    def widths(self) -> Mapping[str, int]:
        """Numbers at each site."""
        sites = ((kind, i) for i in range(self.n_layers) for kind in base.KINDS)
        return types.MappingProxyType({f"{kind}.{i}": self.config.width(kind) for kind, i in sites})

    def fingerprint(self) -> str:
        """Returns a checksum of all weights."""
        return f"{int(checksum.checksums([checksum.checksums(self.params)])[0]):08x}"

    def put(self, sharding: jax.sharding.Sharding) -> "Llama":
        """Returns the model with its parameters on a mesh, to be run on batches that lie there."""
        return dataclasses.replace(self, params=jax.device_put(self.params, sharding))

    def _run(
        self,
        ids: base.Ints,
        mask: base.Ints,
        capture: tuple[str, ...],
        edits: base.Edits,
        logits: bool,
    ) -> base.Run:
        return forward(
            self.config, self.params, ids, mask, edits=edits, capture=capture, logits=logits
        )


@functools.partial(jax.jit, static_argnames=("config", "capture", "logits"))
def forward(
    config: Config,
    params: Params,
    ids: base.Ints,
    mask: base.Ints,
    *,
    edits: base.Edits,
    capture: tuple[str, ...],
    logits: bool,
) -> base.Run:
    """Returns logits, if wanted, and the activations at the sites `capture`."""
    place = base.place(mask)
    length = ids.shape[1]
    allowed = place.mask[:, None, :] & jnp.tri(length, dtype=bool)[None]
    x, captured, _ = blocks(
        config, params, params["embed"][jnp.asarray(ids)], place, allowed, edits, capture, logits
    )
    return base.Run(unembed(config, params, x) if logits else None, captured)


def blocks(
    config: Config,
    params: Params,
    x: Float[Array, "batch length d_model"],
    place: edit.Place,
    allowed: Bool[Array, "batch length keys"],
    edits: base.Edits,
    capture: tuple[str, ...] = (),
    all_of_them: bool = True,
    cache: Cache | None = None,
    column: jax.Array | int = 0,
) -> tuple[Array, dict[str, Array], Cache | None]:
    """Runs all blocks, or those that `capture` needs.

    Args:
      config: of the model.
      params: of the model.
      x: what the first block reads.
      place: of the tokens.
      allowed: which keys each token may attend to.
      edits: by site.
      capture: sites.
      all_of_them: whether to run blocks after the last captured.
      cache: `k` and `v`, `[n_layers, batch, keys, n_kv_heads, d_head]`; None: attend to `x` alone.
      column: of the cache, that the first token of `x` takes.

    Returns:
      x after the last block, captured activations by site, and the cache with the tokens of `x`.
    """
    deepest = max((base.split(site)[1] for site in capture), default=0)
    in_loop = config.n_layers if all_of_them else deepest
    block = functools.partial(
        _block, config, params["blocks"], rope.angles(place.positions, params["frequency"]), allowed
    )
    buffers = _buffers(config, capture, in_loop, x)
    if in_loop:

        def body(layer: jax.Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
            x, cache, kept = carry
            kept = dict(kept)
            tap = functools.partial(_tap, layer, place, edits, capture, kept)
            return *block(layer, x, cache, column, tap), kept

        x, cache, buffers = jax.lax.fori_loop(0, in_loop, body, (x, cache, buffers))
    captured = {
        site: buffers[kind][_layers(capture, kind).index(layer)]
        for site, (kind, layer) in zip(capture, map(base.split, capture), strict=True)
        if layer < in_loop
    }
    if capture and not all_of_them:
        tap = functools.partial(_last_tap, deepest, place, edits, captured)
        x, cache = block(deepest, x, cache, column, tap)
    return x, {site: captured[site] for site in capture}, cache


def _block(
    config: Config,
    stacked: Params,
    angles: tuple[Array, Array],
    allowed: Array,
    layer: jax.Array | int,
    x: Array,
    cache: Cache | None,
    column: jax.Array | int,
    tap: Tap,
) -> tuple[Array, Cache | None]:
    """Returns x after block `layer`, and the cache with its keys and values."""
    weights = jax.tree.map(
        lambda a: jax.lax.dynamic_index_in_dim(a, layer, keepdims=False), stacked
    )
    product = functools.partial(jnp.matmul, precision=config.precision)
    x = tap("resid_pre", x)
    h = norm(x, weights["attn_norm"], config.epsilon)
    q, k, v = (
        product(h, weights[name]).reshape(*h.shape[:2], -1, config.d_head)
        for name in ("wq", "wk", "wv")
    )
    q, k = rope.rotate(q, *angles), rope.rotate(k, *angles)
    if cache is not None:
        new, start = {"k": k[None], "v": v[None]}, (layer, 0, column, 0, 0)
        cache = {name: jax.lax.dynamic_update_slice(cache[name], new[name], start) for name in new}
        k, v = (jax.lax.dynamic_index_in_dim(cache[name], layer, keepdims=False) for name in "kv")
    z = tap("z", attend(q, k, v, allowed, config.precision))
    x = x + tap("attn_out", product(z, weights["wo"]))
    x = tap("resid_mid", x)
    h = tap("mlp_in", norm(x, weights["mlp_norm"], config.epsilon))
    hidden = jax.nn.silu(product(h, weights["w_gate"])) * product(h, weights["w_up"])
    hidden = tap("mlp_hidden", hidden)
    x = x + tap("mlp_out", product(hidden, weights["w_down"]))
    return tap("resid_post", x), cache


def _buffers(
    config: Config, capture: tuple[str, ...], in_loop: int, x: Array
) -> dict[str, jax.Array]:
    """Returns, for each kind captured in the loop, a row for each block, and one for all others."""
    kinds = {kind for kind, layer in map(base.split, capture) if layer < in_loop}
    return {
        kind: jnp.zeros(
            (len(_layers(capture, kind)) + 1, *x.shape[:2], config.width(kind)), x.dtype
        )
        for kind in sorted(kinds)
    }


def _tap(
    layer: jax.Array,
    place: edit.Place,
    edits: base.Edits,
    capture: tuple[str, ...],
    kept: dict[str, jax.Array],
    kind: str,
    value: jax.Array,
) -> jax.Array:
    """Edits and keeps what is at a site of a block whose number is known when it runs only."""
    for at in _layers(edits, kind):
        change = edits[f"{kind}.{at}"]
        value = jax.lax.cond(layer == at, lambda v, e=change: e(v, place), lambda v: v, value)
    if kind in kept:
        layers = _layers(capture, kind)
        slot = sum(jnp.where(layer == at, i - len(layers), 0) for i, at in enumerate(layers))
        kept[kind] = jax.lax.dynamic_update_index_in_dim(
            kept[kind], value, len(layers) + slot, axis=0
        )
    return value


def _last_tap(
    layer: int,
    place: edit.Place,
    edits: base.Edits,
    captured: dict[str, jax.Array],
    kind: str,
    value: jax.Array,
) -> jax.Array:
    """Edits and keeps what is at a site of the last block; what nobody wants, XLA leaves out."""
    site = f"{kind}.{layer}"
    captured[site] = value = edits[site](value, place) if site in edits else value
    return value


def _layers(sites: Collection[str], kind: str) -> list[int]:
    """Returns the blocks of the sites of a kind."""
    return [layer for found, layer in map(base.split, sites) if found == kind]


def norm(
    x: Float[Array, "batch length d"], weight: Float[Array, " d"], epsilon: float
) -> Float[Array, "batch length d"]:
    """Returns x over the root of its mean square, times a weight."""
    wide = x.astype(jnp.float32)
    unit = wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + epsilon)
    return unit.astype(x.dtype) * weight[None, None]


def attend(
    q: Float[Array, "batch length heads d_head"],
    k: Float[Array, "batch keys kv_heads d_head"],
    v: Float[Array, "batch keys kv_heads d_head"],
    allowed: Bool[Array, "batch length keys"],
    precision: str | None,
) -> Float[Array, "batch length width"]:
    """Returns the mean of v that each head of each token attends to, heads side by side.

    A token that may attend to nothing (padding at the left) gets the mean of all, not NaN.
    """
    batch, length, heads, d_head = q.shape
    grouped = q.reshape(batch, length, k.shape[2], heads // k.shape[2], d_head)
    scores = jnp.einsum(
        "btkgd,bskd->bktgs", grouped, k, precision=precision, preferred_element_type=jnp.float32
    )
    scores = jnp.where(allowed[:, None, :, None], scores / np.sqrt(d_head), -1e30)
    # Divided by their sum only behind the product, where there are fewer numbers.
    shares = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
    z = jnp.einsum(
        "bktgs,bskd->bktgd",
        shares.astype(v.dtype),
        v,
        precision=precision,
        preferred_element_type=jnp.float32,
    )
    z = (z / shares.sum(axis=-1, keepdims=True)).swapaxes(1, 2)
    return z.astype(v.dtype).reshape(batch, length, heads * d_head)


def unembed(
    config: Config, params: Params, x: Float[Array, "batch length d_model"]
) -> Float[Array, "batch length vocab"]:
    """Returns float32 logits of what the last block left."""
    h = norm(x, params["norm"], config.epsilon)
    matrix = params["embed"].T if config.tied else params["unembed"]
    return jnp.matmul(h, matrix, precision=config.precision, preferred_element_type=jnp.float32)


def build(
    name: str,
    config: Config,
    tokenizer: base.Tokenizer,
    frequency: np.ndarray,
    read: Callable[[str], np.ndarray],
) -> Llama:
    """Returns a model of the tensors of a file.

    Args:
      name: of the model.
      config: its sizes.
      tokenizer: its own.
      frequency: `[d_head / 2]`, see `rope`.
      read: from a tensor's name in Hugging Face's files to the tensor, matrices as `[out, in]`.
    """

    def tensor(tensor_name: str, *shape: int) -> np.ndarray:
        array = read(tensor_name)
        if array.shape != shape:
            raise errors.DataError(
                f"{name}: {tensor_name} has shape {array.shape}, but the model's sizes make it "
                f"{shape}"
            )
        return array.astype(dtype, copy=False)

    dtype = ml_dtypes.bfloat16 if config.dtype == "bfloat16" else np.float32
    d, q, kv = config.d_model, config.n_heads * config.d_head, config.n_kv_heads * config.d_head
    in_blocks = {
        "attn_norm": ("input_layernorm", (d,)),
        "wq": ("self_attn.q_proj", (q, d)),
        "wk": ("self_attn.k_proj", (kv, d)),
        "wv": ("self_attn.v_proj", (kv, d)),
        "wo": ("self_attn.o_proj", (d, q)),
        "mlp_norm": ("post_attention_layernorm", (d,)),
        "w_gate": ("mlp.gate_proj", (config.d_mlp, d)),
        "w_up": ("mlp.up_proj", (config.d_mlp, d)),
        "w_down": ("mlp.down_proj", (d, config.d_mlp)),
    }
    stacked: Params = {}
    for key, (part, shape) in in_blocks.items():
        array = np.empty((config.n_layers, *shape[::-1]), dtype)
        for i in range(config.n_layers):
            array[i] = tensor(f"model.layers.{i}.{part}.weight", *shape).T
        stacked[key] = jnp.asarray(array)
    params: Params = {
        "embed": jnp.asarray(tensor("model.embed_tokens.weight", config.vocab, d)),
        "norm": jnp.asarray(tensor("model.norm.weight", d)),
        "frequency": jnp.asarray(frequency, jnp.float32),
        "blocks": stacked,
    }
    if not config.tied:
        params["unembed"] = jnp.asarray(tensor("lm_head.weight", config.vocab, d).T)
    return Llama(
        name,
        config.n_layers,
        config.d_model,
        config.vocab,
        config.context,
        tokenizer,
        config,
        params,
    )
