"""Edits of a language model that change one latent of a run."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.explorer import opened
from sae_jax import errors, types
from sae_jax.analysis import directions
from sae_jax.data import base
from sae_jax.lm import edit
from sae_jax.ops import normalise
from sae_jax.train import step


def changed(
    run: opened.Opened,
    latent: int,
    how: str,
    strength: float,
    unit: str = "max",
) -> tuple[dict[str, edit.Edit], str]:
    """Returns edits by site, as `experiments.steer` describes them, and what they are in words.

    The first token of a text is left as it is.

    Raises:
      UserError: there is no such latent, or the run cannot be edited so.
    """
    rows = directions.rows(run.task.method, run.state)
    if not 0 <= latent < len(rows):
        raise errors.UserError(f"latent {latent}: there are latents from 0 to {len(rows) - 1}")
    if isinstance(run.task.method.normaliser, normalise.Example):
        raise errors.UserError(
            'the run\'s normaliser, "example", gives each activation a scale of its own: what a '
            "latent adds is no fixed direction"
        )
    if how == "add":
        size, of = 1.0, "its decoder row"
        if unit == "max":
            size = largest(run, latent)
            of = f"its maximum of {size:.3g}"
        parts = zip(run.written, np.split(rows[latent], np.cumsum(run.widths)[:-1]), strict=True)
        edits = {site: edit.add(part, strength * size, slice(1, None)) for site, part in parts}
        return edits, f"latent {latent} added, {strength:g} times {of}"
    if run.data.target_sites or len(run.data.sites) > 1:
        raise errors.UserError(
            f"a latent that is read at {', '.join(run.data.sites)} and written at "
            f"{', '.join(run.written)} can be added only, not scaled or ablated: an edit sees one "
            "site"
        )
    factor, said = (0.0, "ablated") if how == "ablate" else (strength, f"scaled by {strength:g}")
    return {run.data.sites[0]: scaled(run, rows[latent], latent, factor)}, f"latent {latent} {said}"


def largest(run: opened.Opened, latent: int) -> float:
    """Returns the highest code of a latent in the run's data.

    Raises:
      UserError: it is active for no example.
    """
    encode = run.encoder()
    most = 0.0
    for index, _ in base.batches(run.data.length, 1024):  # The last batch repeats its last row.
        most = max(most, float(encode(index)[:, latent].max()))
    if not most:
        raise errors.UserError(
            f"latent {latent} is active for no token of {run.data.spec.split}, so it has no "
            "maximum: --unit=row counts in decoder rows"
        )
    return most


def scaled(run: opened.Opened, row: np.ndarray, latent: int, factor: float) -> edit.Edit:
    """Returns the edit that multiplies the part of one latent in an activation.

    Args:
      run: whose autoencoder reads and writes at one site.
      row: `[width]`, what one unit of the latent adds.
      latent: its number.
      factor: 0 takes the part away.
    """
    method = run.task.method

    def change(a: jax.Array, place: edit.Place, state: Any, row: jax.Array, by: Any) -> jax.Array:
        x = a.reshape(-1, a.shape[-1]).astype(jnp.float32)
        code = step.reconstruct(method, state, types.Batch(x)).codes[:, latent]
        part = (code[:, None] * row[None]).reshape(a.shape)
        later = (place.positions > 0)[..., None]
        return jnp.where(later, a.astype(jnp.float32) + (by - 1) * part, a)

    state = jax.device_get(run.state)
    return edit.Edit(change, (state, jnp.asarray(row), jnp.asarray(factor, jnp.float32)))
