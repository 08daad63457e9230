r"""The recurrent autoencoder: reads a series into a code, writes it again, and what follows it.

  h_t    = cell(x_t, h_{t-1}),  t = 1..T                a reader, h_0 = 0
  pre    = h_T w_enc + b_enc,   codes = activation(pre)
  start  = tanh(codes w_dec + b_dec)                    of the states of two writers:
  x_hat_T, ..., x_hat_1                                 what was read, backwards
  x_hat_{T+1}, ..., x_hat_{T+H}                         what follows, if that is asked for

The composite model of Srivastava, Mansimov & Salakhutdinov 2015 ("Unsupervised learning of video
representations using LSTMs"), with a code of its own width between reader and writers. A writer's
output is linear in its state `h`, `h w_out + b_out`, squashed with `output="sigmoid"`. Its input is
its own output of the step before, 0 at first, in training as in evaluation; with `feedback=False`
it has none.

  gru    r, z = sigmoid(x w_in + b + h w_state)                      (Cho et al. 2014, with the
         n    = tanh(x w_in + b + r * (h w_state))                    product reset, as in cuDNN)
         h'   = (1 - z) * n + z * h
  lstm   i, f, o = sigmoid(x w_in + b + h w_state)                   (Hochreiter & Schmidhuber 1997,
         g    = tanh(x w_in + b + h w_state)                          Gers et al. 2000)
         c'   = f * c + i * g,   h' = o * tanh(c')
"""

from collections.abc import Callable
import math
from typing import Any, Literal

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.models import layers

LATENT_AXES = {"w_enc": 1, "b_enc": 0, "w_dec": 0, "threshold": 0}

State = tuple[Array, ...]  # `[batch, hidden]` each; the first is h.
Cell = dict[str, Array]
_GLOROT = nn.initializers.glorot_uniform()


def _gru(gates: Array, from_h: Array, state: State) -> State:
    """Returns the next state from `x w_in + b` and `h w_state`, both `[batch, 3 hidden]`."""
    h = state[0]
    r, z, n = jnp.split(gates, 3, axis=-1)
    r_h, z_h, n_h = jnp.split(from_h, 3, axis=-1)
    z = jax.nn.sigmoid(z + z_h)
    return ((1 - z) * jnp.tanh(n + jax.nn.sigmoid(r + r_h) * n_h) + z * h,)


def _lstm(gates: Array, from_h: Array, state: State) -> State:
    """Returns the next state from `x w_in + b` and `h w_state`, both `[batch, 4 hidden]`."""
    i, f, o, g = jnp.split(gates + from_h, 4, axis=-1)
    c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


# Cell: its step, blocks of `hidden` columns in its matrices, parts of its state.
_CELLS: dict[str, tuple[Callable[[Array, Array, State], State], int, int]] = {
    "gru": (_gru, 3, 1),
    "lstm": (_lstm, 4, 2),
}


class RecurrentAutoencoder(nn.Module):
    """A reader, a code, a writer of what was read and, if more is asked for, one of what follows.

    Parameters besides `w_enc`, `b_enc`, `w_dec`, `b_dec`: `reader` (`w_in`, `w_state`, `b`); `past`
    and `future`, the writers (the same, and `w_out`, `b_out`). The columns of `w_dec` are the parts
    of the writers' states, those of `past` first. Weights start as Glorot & Bengio 2010, those of
    the states as orthogonal matrices, one a gate; the forget gate's bias is 1 at the start.

    Attributes:
      d_in: numbers in a window.
      d_out: numbers in a window and what follows it.
      d_sae: width of the code.
      activation: of the code, a module of `sae_jax.activations`.
      grid: `(steps, ...)` of a window: a series, a film frame by frame, a picture line by line.
      hidden: units of the reader, and of each writer.
      cell: "gru" or "lstm".
      feedback: whether a writer reads what it wrote last.
      output: what the writers end in.
      bias: how `b_out` starts: "zeros", or the "mean" over examples and steps that `init` sees (its
        logit with `output="sigmoid"`).
    """

    d_in: int
    d_out: int
    d_sae: int
    activation: nn.Module
    grid: tuple[int, ...] | None
    hidden: int = 128
    cell: Literal["gru", "lstm"] = "gru"
    feedback: bool = True
    output: Literal["identity", "sigmoid"] = "identity"
    bias: Literal["zeros", "mean"] = "zeros"

    def __post_init__(self) -> None:
        """Refuses data without steps, sizes that cannot be and words that name no choice."""
        layers.check_sizes(d_sae=self.d_sae, hidden=self.hidden)
        layers.check_choice("cell", self.cell, _CELLS)
        layers.check_choice("output", self.output, ("identity", "sigmoid"))
        layers.check_choice("bias", self.bias, ("zeros", "mean"))
        if self.grid is None or len(self.grid) < 2:
            raise ValueError("recurrent needs series: examples of this data set have no steps")
        if self.d_out < self.d_in or self.d_out % math.prod(self.grid[1:]):
            raise ValueError(
                f"recurrent writes the {self.d_in} numbers that it reads and whole steps after "
                f"them: it cannot write {self.d_out}"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "batch d_in"], context: types.Context) -> types.Output:
        """Returns reconstruction and prediction, codes and pre-activations of a batch."""
        assert self.grid is not None
        steps = x.reshape(len(x), self.grid[0], -1)
        width = steps.shape[-1]
        lengths = {"past": self.grid[0]}
        if self.d_out > self.d_in:
            lengths["future"] = (self.d_out - self.d_in) // width
        parts = _CELLS[self.cell][2]
        wide = len(lengths) * parts * self.hidden
        w_enc = self.param("w_enc", _GLOROT, (self.hidden, self.d_sae))
        b_enc = self.param("b_enc", nn.initializers.zeros, (self.d_sae,))
        w_dec = self.param("w_dec", _GLOROT, (self.d_sae, wide))
        b_dec = self.param("b_dec", nn.initializers.zeros, (wide,))

        pre = self._read(self.param("reader", self._cell(width)), steps) @ w_enc + b_enc[None]
        codes = self.activation(pre, context)
        start = jnp.split(jnp.tanh(codes @ w_dec + b_dec[None]), len(lengths) * parts, axis=-1)
        last = layers.output_bias(self.bias, self.output, steps.reshape(-1, width))
        written = {}
        for i, (name, length) in enumerate(lengths.items()):
            writer = self.param(name, self._cell(width, writes=last))
            state = tuple(start[i * parts : (i + 1) * parts])
            written[name] = self._write(writer, state, length)
        written["past"] = written["past"][::-1]
        logits = jnp.concatenate([*written.values()]).swapaxes(0, 1).reshape(len(x), self.d_out)
        x_hat = layers.NONLINEARITIES[self.output](logits)
        extras = {"logits": logits} if self.output == "sigmoid" else {}
        return types.Output(x_hat=x_hat, codes=codes, pre=pre, extras=extras)

    def _read(self, cell: Cell, steps: Array) -> Array:
        """Returns the last h, `[batch, hidden]`, of `[batch, time, width]`."""
        step, _, parts = _CELLS[self.cell]
        gates = steps.swapaxes(0, 1) @ cell["w_in"] + cell["b"][None, None]

        def take(state: State, gates: Array) -> tuple[State, None]:
            return step(gates, state[0] @ cell["w_state"], state), None

        zeros = jnp.zeros((len(steps), self.hidden), steps.dtype)
        return jax.lax.scan(take, (zeros,) * parts, gates)[0][0]

    def _write(self, cell: Cell, state: State, length: int) -> Array:
        """Returns what a writer that starts in `state` writes: logits `[time, batch, width]`."""
        step = _CELLS[self.cell][0]
        bias = jnp.broadcast_to(cell["b"], (len(state[0]), len(cell["b"])))

        def take(carry: tuple[State, Array], _: None) -> tuple[tuple[State, Array], Array]:
            state, gates = carry
            state = step(gates, state[0] @ cell["w_state"], state)
            if not self.feedback:
                return (state, gates), state[0]
            logits = _linear(state[0], cell)
            seen = layers.NONLINEARITIES[self.output](logits)
            return (state, seen @ cell["w_in"] + bias), logits

        written = jax.lax.scan(take, (state, bias), length=length)[1]
        return written if self.feedback else _linear(written, cell)

    def _cell(self, width: int, writes: Any = None) -> Callable[[Array], Cell]:
        """Returns the initialiser of a cell; `writes` is that of its output's bias, if any."""
        blocks = _CELLS[self.cell][1]

        def make(key: Array) -> Cell:
            into, own, out = jax.random.split(key, 3)
            orthogonal = nn.initializers.orthogonal()
            made = {
                "w_state": _beside(orthogonal, own, blocks, (self.hidden, self.hidden)),
                "b": jnp.zeros(blocks * self.hidden),
            }
            if self.cell == "lstm":
                made["b"] = made["b"].at[self.hidden : 2 * self.hidden].set(1.0)
            if writes is None or self.feedback:
                made["w_in"] = _beside(_GLOROT, into, blocks, (width, self.hidden))
            if writes is not None:
                w_out, b_out = _GLOROT(out, (self.hidden, width)), writes(out, (width,))
                made |= {"w_out": w_out, "b_out": b_out}
            return made

        return make


def _beside(init: Any, key: Array, blocks: int, shape: tuple[int, int]) -> Array:
    """Returns `blocks` matrices side by side, each started by itself."""
    return jnp.concatenate([init(k, shape) for k in jax.random.split(key, blocks)], axis=1)


def _linear(h: Array, cell: Cell) -> Array:
    return h @ cell["w_out"] + jnp.broadcast_to(cell["b_out"], (*h.shape[:-1], len(cell["b_out"])))


Model = RecurrentAutoencoder
