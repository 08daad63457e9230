"""Random MLPs in a residual stream, whose neurons are known: what transcoders are to imitate.

  r^0     = sum_i codes_i features_i       64 random directions in 32 dimensions, each on in 6 %
  h^l     = relu(r^l w_in^l + b_in^l)      64 neurons, each active in a chosen share of examples
  y^l     = h^l w_out^l                    columns of w_in and rows of w_out: random directions
  r^{l+1} = r^l + y^l

A layer reads r^l and writes y^l. Where few neurons are active at a time a transcoder may find them:
an encoder column for each column of w_in, a decoder row for each row of w_out. Neurons may be
repeated, the same in all layers: what they do, one latent that writes all layers can do.
"""

from collections.abc import Mapping
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from sae_jax import errors
from sae_jax.data import world
from sae_jax.ops import dictionaries

D, N_FEATURES, HIDDEN = 32, 64, 64
COUNTS = {"train": 20_000_000, "valid": 20_000, "test": 100_000}
_ON = 0.06  # Of a feature.
_SAMPLE = 20_000  # Examples by which the biases of the neurons are chosen.


def load(
    split: str,
    seed: int = 0,
    layers: int = 1,
    active: float = 0.05,
    repeated: float = 0.0,
    part: Literal["both", "inputs", "outputs"] = "both",
) -> world.World:
    """Returns a split: "train" has 20,000,000 examples, "valid" 20,000 and "test" 100,000.

    Args:
      split: or a part of it.
      seed: of features, weights and codes.
      layers: MLPs; what several read, or write, stands side by side, `[layers * 32]`.
      active: in which share of all examples a neuron is active, between 0 and 1.
      repeated: share of the neurons that are the same in all layers.
      part: "both": x is what the MLPs read, y what they write; "inputs": what they read, alone;
        "outputs": what they write, alone.
    """
    if part not in ("both", "inputs", "outputs"):
        raise errors.DataError(f'part="{part}": choose from both, inputs, outputs')
    if layers < 1:
        raise errors.DataError(f"layers={layers}: it must be 1 or more")
    if not 0 < active < 1 or not 0 <= repeated <= 1:
        raise errors.DataError(f"active={active}, repeated={repeated}: they are shares")
    random = np.random.RandomState(seed)
    features = _directions(random, N_FEATURES)
    weights = _weights(random, features, layers, active, round(repeated * HIDDEN))
    network = world.Network(functools.partial(_through, part=part), weights)
    return world.load(
        "mlp_stack", split, COUNTS, features, _draw, seed, grid=(layers, D), network=network
    )


def _directions(random: np.random.RandomState, count: int) -> np.ndarray:
    """Returns random rows of norm 1, float64 `[count, D]`."""
    return dictionaries.unit(random.standard_normal((count, D)))


def _weights(
    random: np.random.RandomState, features: np.ndarray, layers: int, active: float, repeated: int
) -> dict[str, np.ndarray]:
    """Returns `w_in`, `[layers, D, HIDDEN]`, `b_in`, `[layers, HIDDEN]`, and `w_out`, as `w_in^T`.

    Biases are such that in a sample each neuron is active in its share; of a repeated one, in the
    first layer.
    """
    on = random.uniform(size=(_SAMPLE, N_FEATURES)) < _ON
    stream = (on * _size(random.standard_normal(on.shape))) @ features
    made: dict[str, list[np.ndarray]] = {"w_in": [], "b_in": [], "w_out": []}
    for layer in range(layers):
        w_in, w_out = _directions(random, HIDDEN).T, _directions(random, HIDDEN)
        pre = stream @ w_in
        b_in = -np.quantile(pre, 1 - active, axis=0)
        if layer:
            w_in[:, :repeated] = made["w_in"][0][:, :repeated]
            b_in[:repeated] = made["b_in"][0][:repeated]
            w_out[:repeated] = made["w_out"][0][:repeated]
        stream = stream + np.maximum(stream @ w_in + b_in, 0) @ w_out
        for name, array in (("w_in", w_in), ("b_in", b_in), ("w_out", w_out)):
            made[name].append(array)
    return {name: np.stack(arrays).astype(np.float32) for name, arrays in made.items()}


def _draw(key: jax.Array) -> jax.Array:
    """Returns the codes `[N_FEATURES]` of one example."""
    on, size = jax.random.split(key)
    sizes = _size(jax.random.normal(size, (N_FEATURES,)))
    return jnp.where(jax.random.uniform(on, (N_FEATURES,)) < _ON, sizes, 0.0)


def _size(normal: Any) -> Any:
    """Returns how much of a feature that is on is there, from a standard normal number."""
    return abs(1.0 + 0.15 * normal)


def _through(
    weights: Mapping[str, jax.Array], x: jax.Array, part: str
) -> tuple[jax.Array, jax.Array | None]:
    """Returns what all layers read and what they write, `[batch, layers * D]` each."""

    def layer(stream: jax.Array, of: tuple[jax.Array, ...]) -> tuple[jax.Array, tuple]:
        w_in, b_in, w_out = of
        written = jax.nn.relu(stream @ w_in + b_in[None]) @ w_out
        return stream + written, (stream, written)

    arrays = tuple(weights[name] for name in ("w_in", "b_in", "w_out"))
    read, written = (
        sites.swapaxes(0, 1).reshape(len(x), -1) for sites in jax.lax.scan(layer, x, arrays)[1]
    )
    return {"both": (read, written), "inputs": (read, None), "outputs": (written, None)}[part]
