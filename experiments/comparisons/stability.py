"""How much of a dictionary is the same whatever the seed: latents of two runs matched one to one.

For each pair of runs that differ in their seed alone: the |cosines| of matched decoder rows, the
largest first; their mean, which is the MCC of the two; and the share of latents that both have:
decoder rows and encoder columns, each matched for themselves, have the same partner and |cosines|
above 0.7 (after Paulo & Belrose 2025, arXiv 2501.16615; of a model without encoder columns, decoder
rows alone). Chance is what two dictionaries of random directions have, by decoder rows alone.
"""

from collections.abc import Sequence
import itertools
from pathlib import Path
from typing import Any

import jax
from matplotlib import axes as mpl_axes
from matplotlib.figure import Figure
import numpy as np

from experiments import comparisons, run
from experiments.tables import baselines
from sae_jax import errors
from sae_jax.models import base as models
from sae_jax.ops import dictionaries

SIZE = (7.2, 3.8)
ALIKE = 0.7


def draw(series: Sequence[comparisons.Series], figure: Figure) -> str:
    """Draws a line for each pair of runs, a colour for each setting; returns means and shares."""
    axis = figure.subplots()
    said: list[str] = []
    shapes: set[tuple[int, ...]] = set()
    for each in series:
        for point, folders in zip(each.points, each.folders, strict=True):
            if len(folders) < 2:
                continue
            weights = [weights_of(folder) for folder in folders]
            shapes.add(weights[0][0].shape)
            found = [compared(*pair) for pair in itertools.combinations(weights, 2)]
            name = f"{each.name}, L0 {point[comparisons.X].mean:.3g}"
            _lines(axis, found, name, color=f"C{len(said)}")
            said.append(f"{name}: {_words(found)}")
    if not said:
        names = ", ".join(each.name for each in series)
        raise errors.UserError(f"no two runs in {names} differ in their seed alone: train more")
    for d_sae, d in sorted(shapes):
        pair = [[baselines.random_directions(d, d_sae, seed).T] for seed in (0, 1)]
        name, found = f"chance, {d_sae} x {d}", [compared(*pair)]
        _lines(axis, found, name, color="0.5", linestyle="--")
        said.append(f"{name}: {_words(found)}")
    axis.axhline(ALIKE, color="0.8", linewidth=0.8, zorder=0)
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("share of latents")
    axis.set_ylabel("|cosine| with the partner in the other run")
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return "\n".join(said)


def compared(
    one: Sequence[np.ndarray], other: Sequence[np.ndarray]
) -> tuple[dictionaries.Matching, float]:
    """Returns the matching of two runs' decoder rows, and the share of latents that both have."""
    matchings = [dictionaries.one_to_one(*rows) for rows in zip(one, other, strict=True)]
    return matchings[0], dictionaries.shared(matchings, ALIKE)


def weights_of(folder: Path) -> list[np.ndarray]:
    """Returns decoder rows `[d_sae, d_out]` of a run, then encoder columns if there are as many.

    Raises:
      UserError: the model has no decoder whose rows are directions.
    """
    task, state = run.load(folder)
    params: dict[str, Any] = jax.device_get(
        models.with_dictionary(task.method.model, state.params, state.stats)
    )
    w_dec, w_enc = params.get("w_dec"), params.get("w_enc")
    if w_dec is None or w_dec.ndim != 2:
        raise errors.UserError(f"{folder}: the model has no w_dec whose rows could be compared")
    if w_enc is None or w_enc.ndim != 2 or w_enc.shape[1] != len(w_dec):
        return [w_dec]
    return [w_dec, w_enc.T]


def _lines(
    axis: mpl_axes.Axes,
    found: Sequence[tuple[dictionaries.Matching, float]],
    name: str,
    **style: Any,
) -> None:
    for place, (matching, _) in enumerate(found):
        share = (np.arange(len(matching.cosine)) + 0.5) / len(matching.cosine)
        label = name if place == 0 else None
        axis.plot(share, np.sort(matching.cosine)[::-1], linewidth=1, label=label, **style)


def _words(found: Sequence[tuple[dictionaries.Matching, float]]) -> str:
    """Returns the means over pairs, with the least and the largest where there are several."""
    parts = []
    for what, values in (
        ("MCC", [matching.cosine.mean() for matching, _ in found]),
        ("shared", [share for _, share in found]),
    ):
        span = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
        parts.append(f"{what} {np.mean(values):.3f}{span}")
    return f"{', '.join(parts)} in {len(found)} {'pair' if len(found) == 1 else 'pairs'}"
