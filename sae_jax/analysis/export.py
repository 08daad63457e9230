"""A trained model as programs that run without this library: one file each, weights inside.

  encode       x [batch, d_in] -> codes [batch, d_sae]
  decode       codes [batch, d_sae] -> x_hat [batch, d_out]
  reconstruct  x [batch, d_in] -> x_hat [batch, d_out]

`x` and `x_hat` are float32 in the scale of the data: the normaliser is part of the program. `batch`
is a number of the caller's choice. Not every model is two halves: `decode` is there if the model's
class has a method `decode` and `decode(encode(x))` is `reconstruct(x)`; it is not if the normaliser
takes shift and scale from each example, which codes do not tell.

A file is what `jax.export` writes: StableHLO with its constants, in a FlatBuffer. It needs jax and
flatbuffers to run, nothing of this project, no checkpoint and no Python that unpickles:

    encode = jax.export.deserialize(bytearray(open("encode.jaxexport", "rb").read()))
    codes = jax.jit(encode.call)(x)

It runs on the platforms that it was lowered for; jax refuses it on others. jax promises to run what
was exported up to six months before ("Compatibility guarantees" in its page on export); the version
of the calling convention, which a file holds, must be one that the device's jax supports. After
that, export the run anew.

With int8 weights (`sae_jax.analysis.quantise`) the constants are int8: a quarter of the file.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sae_jax import errors, types
from sae_jax.analysis import quantise
from sae_jax.ops import normalise
from sae_jax.train import step

PyTree = Any
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
SUFFIX = ".jaxexport"
_SAME = 1e-4  # Of the largest number; float32 rounding in another order is far below it.


@dataclasses.dataclass(frozen=True)
class Function:
    """One function of a trained model.

    Attributes:
      of: `(params, x [batch, d_in]) -> [batch, d_out]`.
      d_in: width of what goes in.
      d_out: width of what comes out.
    """

    of: Callable[[PyTree, jax.Array], jax.Array]
    d_in: int
    d_out: int


def functions(
    method: step.Method, state: step.State, x: np.ndarray
) -> tuple[dict[str, Function], dict[str, str]]:
    """Returns the functions of a trained model by name, and of a missing one why it is.

    Args:
      method: what was trained.
      state: as trained; every array must be whole on this host.
      x: float32 `[batch, d_in]`, examples on which to see whether codes are all that decode needs.
    """
    fixed = _of_no_device(state)

    def output(params: PyTree, x: jax.Array) -> types.Output:
        whole = dataclasses.replace(fixed, params=params)
        return step.reconstruct(method, whole, types.Batch(x))

    def decode(params: PyTree, codes: jax.Array) -> jax.Array:
        bound = step.bind(method, dataclasses.replace(fixed, params=params))
        scale = method.normaliser.scale(fixed.normaliser, jnp.zeros((1, d_in)))
        return scale.leave(bound.call("decode", codes))

    seen = jax.device_get(jax.jit(output)(fixed.params, x))
    d_in, d_sae, d_out = x.shape[1], seen.codes.shape[1], seen.x_hat.shape[1]
    found = {
        "encode": Function(lambda params, x: output(params, x).codes, d_in, d_sae),
        "decode": Function(decode, d_sae, d_out),
        "reconstruct": Function(lambda params, x: output(params, x).x_hat, d_in, d_out),
    }
    if why := _cannot_decode(method, fixed, decode, seen):
        del found["decode"]
        return found, {"decode": why}
    return found, {}


def serialise(name: str, function: Function, params: PyTree, platforms: Sequence[str]) -> bytes:
    """Returns the bytes of a file that runs a function on any number of rows.

    Rows are mapped, one does not see another: a model at rest gives each its own result anyway, and
    need not be written for a number of rows that is not known.

    Args:
      name: of the function, for errors.
      function: what to export.
      params: of the model, as they were trained or as `quantise.quantise` made them.
      platforms: names of `PLATFORMS`.

    Raises:
      UserError: the model cannot be lowered for one of the platforms.
    """

    def each(params: PyTree, x: jax.Array) -> jax.Array:
        return jax.vmap(lambda row: function.of(params, row[None])[0])(x)

    program = jax.jit(functools.partial(quantise.apply, each, params))
    shape = (*jax.export.symbolic_shape("batch"), function.d_in)
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    try:
        with _without_source_lines():
            return bytes(jax.export.export(program, platforms=platforms)(x).serialize())
    except NotImplementedError as error:
        reason = str(error).strip().splitlines()[0]
        raise errors.UserError(
            f"{name} cannot be lowered for all of {', '.join(platforms)} ({reason}): choose fewer "
            "platforms"
        ) from error


def load(data: bytes) -> Callable[[Any], jax.Array]:
    """Returns the function in a file, compiled when it is first called."""
    return jax.jit(jax.export.deserialize(bytearray(data)).call)


def _cannot_decode(
    method: step.Method,
    state: step.State,
    decode: Callable[[PyTree, jax.Array], jax.Array],
    seen: types.Output,
) -> str:
    """Returns why codes alone do not tell the reconstruction, or nothing."""
    if not hasattr(method.model, "decode"):
        return f"{type(method.model).__name__} has no decode"
    if isinstance(method.normaliser, normalise.Example):
        return "the normaliser takes shift and scale from each example, which codes do not tell"
    shape = jax.eval_shape(decode, state.params, seen.codes).shape
    if shape == seen.x_hat.shape:
        x_hat = jax.device_get(jax.jit(decode)(state.params, seen.codes))
        difference = float(np.abs(x_hat - seen.x_hat).max())
        if difference <= _SAME * np.abs(seen.x_hat).max():
            return ""
    return "decode(encode(x)) is not reconstruct(x): the decoder takes more than codes"


def _of_no_device(state: step.State) -> step.State:
    """Returns what a forward pass needs of a state, its arrays bound to no device or mesh."""

    def free(tree: PyTree) -> PyTree:
        return jax.tree.map(jnp.asarray, jax.device_get(tree))

    key = free(jax.random.key_data(state.key))
    return dataclasses.replace(
        state,
        step=free(state.step),
        key=jax.random.wrap_key_data(key, impl=jax.random.key_impl(state.key)),
        params=free(state.params),
        stats=free(state.stats),
        normaliser=free(state.normaliser),
        opt_state=(),
        idle=free(state.idle),
    )


@contextlib.contextmanager
def _without_source_lines() -> Iterator[None]:
    """Keeps this machine's paths out of what is lowered: one run gives the same bytes anywhere."""
    option = "jax_traceback_in_locations_limit"
    before = jax.config.values[option]
    jax.config.update(option, 0)
    try:
        yield
    finally:
        jax.config.update(option, before)
