"""What architectures are made of: linear layers, non-linearities by name, and checks of fields."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from sae_jax import types
from sae_jax.ops import sparse

NONLINEARITIES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "identity": lambda x: x,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
}
RECTIFIERS = ("elu", "gelu", "relu", "silu")


def activate(
    activation: nn.Module, pre: types.Pre, context: types.Context
) -> jax.Array | types.Codes:
    """Returns codes `[batch, d_sae]`, sparse ones if the activation can choose few latents."""
    choose: Any = getattr(activation, "choose", lambda pre, context: None)
    indices = choose(pre.dense, context)
    if indices is None:
        return activation(pre.dense, context)
    kept: Any = activation.value
    return types.Codes(kept(sparse.take(pre, indices)), indices, pre.dense.shape[-1])


class Linear(nn.Module):
    """A linear layer with parameters `w` `[d_in, d_out]` and `b` `[d_out]`.

    Attributes:
      d_out: width of its output.
      init: of `w`.
      bias: of `b`: called with a key and the shape.
    """

    d_out: int
    init: Any = nn.initializers.glorot_uniform()
    bias: Any = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns `x w + b`."""
        w = self.param("w", self.init, (x.shape[-1], self.d_out))
        return x @ w + self.param("b", self.bias, (self.d_out,))[None]


def initializer(nonlinearity: str) -> Any:
    """Returns how weights before a non-linearity start.

    Rectifiers: normal of variance 2 / fan-in (He et al. 2015); the others: uniform within
    +-sqrt(6 / (fan-in + fan-out)) (Glorot & Bengio 2010).
    """
    if nonlinearity in RECTIFIERS:
        return nn.initializers.he_normal()
    return nn.initializers.glorot_uniform()


def mean_logit(x: jax.Array, smallest: float = 1e-3) -> jax.Array:
    """Returns `[d_in]`, the logit of the mean of `x` over its rows; a sigmoid undoes it."""
    mean = jnp.clip(x.mean(axis=0), smallest, 1 - smallest)
    return jnp.log(mean) - jnp.log1p(-mean)


def check_choice(field: str, value: str, choices: Collection[str]) -> None:
    """Raises a ValueError for a word that names no choice."""
    if value not in choices:
        raise ValueError(f'{field}="{value}": choose from {", ".join(choices)}')


def check_sizes(**sizes: int | Sequence[int]) -> None:
    """Raises a ValueError for a size that is not positive."""
    for field, value in sizes.items():
        for size in value if isinstance(value, Sequence) else (value,):
            if size < 1:
                raise ValueError(f"{field}={value}: it must be 1 or more")
