"""Text that a model writes on, greedily or by chance, with edits to see what they do.

Chance is the Gumbel trick: argmax(logits + temperature G), G of the standard Gumbel distribution,
is a draw from softmax(logits / temperature); at temperature 0 it is the likeliest token.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sae_jax import errors
from sae_jax.lm import base, edit, llama


def generate(
    model: base.LanguageModel,
    ids: base.Ints,
    mask: base.Ints | None = None,
    new: int = 32,
    temperature: float = 0.0,
    seed: int = 0,
    edits: base.Edits | None = None,
) -> np.ndarray:
    """Returns int32 `[batch, new]`, the tokens after each row; after EOS only EOS.

    Keys and values are kept in a cache, except in models of another library, which read the whole
    row again for each token. Edits work on the prompt and on what is written; positions go on.

    Args:
      model: that writes.
      ids: int `[batch, length]`, prompts.
      mask: of the prompts, padded at the left or at the right; None: all are tokens.
      new: tokens to write.
      temperature: 0 or more.
      seed: of what is left to chance.
      edits: by site.

    Raises:
      errors.UserError: if prompt and new tokens are more than the context, or a prompt is empty.
    """
    edits = {} if edits is None else dict(edits)
    model.check_sites(edits)
    mask = np.asarray(model.check_batch(ids, mask), bool)
    if temperature < 0:
        raise errors.UserError(f"temperature={temperature}: it must be 0 or more")
    if new < 1 or ids.shape[1] + new > model.context:
        raise errors.UserError(
            f"{ids.shape[1]} tokens and {new} new: {model.name} holds {model.context}"
        )
    if not mask.any(axis=1).all():
        raise errors.UserError("a prompt is empty: put at least BOS or one token into each row")
    eos = jnp.asarray(-1 if model.tokenizer.eos is None else model.tokenizer.eos, jnp.int32)
    key = jax.random.key(seed)
    heat = jnp.asarray(temperature, jnp.float32)
    if isinstance(model, llama.Llama):
        found = cached(
            model.config, model.params, jnp.asarray(ids), mask, heat, key, edits, eos, new=new
        )
        return np.asarray(found)
    return recomputed(model, ids, mask, heat, key, edits, new, eos)


def recomputed(
    model: base.LanguageModel,
    ids: base.Ints,
    mask: np.ndarray,
    temperature: jax.Array,
    key: jax.Array,
    edits: base.Edits,
    new: int,
    eos: jax.Array,
) -> np.ndarray:
    """Generates without a cache: for each token the whole row again."""
    batch, length = ids.shape
    row = np.concatenate([np.asarray(ids), np.zeros((batch, new), np.int32)], axis=1)
    held = np.concatenate([mask, np.zeros((batch, new), bool)], axis=1)
    last, done = _last(mask), np.zeros(batch, bool)
    for step in range(new):
        logits = model.run(row, held, edits=edits).logits
        assert logits is not None
        token, ended = pick(logits[np.arange(batch), last], temperature, key, step, done, eos)
        row[:, length + step], held[:, length + step] = np.asarray(token), True
        last, done = jnp.full(batch, length + step), np.asarray(ended)
    return row[:, length:]


@functools.partial(jax.jit, static_argnames=("config", "new"))
def cached(
    config: llama.Config,
    params: llama.Params,
    ids: jax.Array,
    mask: base.Ints,
    temperature: jax.Array,
    key: jax.Array,
    edits: base.Edits,
    eos: jax.Array,
    *,
    new: int,
) -> jax.Array:
    """Generates with keys and values of earlier tokens kept, `[n_layers, batch, keys, ...]`."""
    batch, length = ids.shape
    prompt = base.place(mask)
    # New tokens take the columns after the prompt in all rows; padding between is never attended.
    held = jnp.concatenate([prompt.mask, jnp.ones((batch, new), bool)], axis=1)
    shape = (config.n_layers, batch, length + new, config.n_kv_heads, config.d_head)
    columns = jnp.arange(length + new)

    def read(
        tokens: jax.Array, place: edit.Place, cache: llama.Cache, column: jax.Array
    ) -> tuple[jax.Array, Any]:
        own = column + jnp.arange(tokens.shape[1])
        allowed = held[:, None] & (columns[None] <= own[:, None])[None]
        x = params["embed"][tokens]
        x, _, kept = llama.blocks(
            config, params, x, place, allowed, edits, cache=cache, column=column
        )
        return x, kept

    empty = {name: jnp.zeros(shape, params["embed"].dtype) for name in "kv"}
    x, cache = read(ids, prompt, empty, jnp.asarray(0))
    last = jnp.take_along_axis(x, _last(prompt.mask)[:, None, None], axis=1)
    count = prompt.mask.sum(axis=1, dtype=jnp.int32)

    def step(carry: tuple, number: jax.Array) -> tuple[tuple, jax.Array]:
        x, cache, done = carry
        logits = llama.unembed(config, params, x)[:, 0]
        token, done = pick(logits, temperature, key, number, done, eos)
        place = edit.Place(jnp.ones((batch, 1), bool), (count + number)[:, None])
        x, cache = read(token[:, None], place, cache, length + number)
        return (x, cache, done), token

    start = (last, cache, jnp.zeros(batch, bool))
    _, tokens = jax.lax.scan(step, start, jnp.arange(new, dtype=jnp.int32))
    return tokens.T


@jax.jit
def pick(
    logits: jax.Array,
    temperature: jax.Array,
    key: jax.Array,
    step: jax.Array | int,
    done: base.Ints,
    eos: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns the next token of each row, int32 `[batch]`, and which rows have ended.

    Args:
      logits: `[batch, vocab]`.
      temperature: `[]`.
      key: of the whole text.
      step: number of the new token.
      done: bool `[batch]`, rows that have ended before.
      eos: `[]`, what ends a row; -1: nothing does.
    """
    noise = jax.random.gumbel(jax.random.fold_in(key, step), logits.shape)
    token = jnp.argmax(logits + temperature * noise, axis=-1).astype(jnp.int32)
    token = jnp.where(done, eos, token)
    return token, token == eos


def _last(mask: base.Ints) -> jax.Array:
    """Returns int32 `[batch]`, the column of each row's last token."""
    columns = jnp.arange(mask.shape[1], dtype=jnp.int32)
    return jnp.where(jnp.asarray(mask), columns[None], -1).max(axis=1)
