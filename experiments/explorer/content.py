"""What the page of a run shows, as `page.js` reads it."""

import json
from pathlib import Path
import re
import sys
from typing import Any

import numpy as np

from experiments.explorer import opened, page
from sae_jax import errors
from sae_jax.analysis import contexts, directions, examples

TOKENS = 10  # Promoted, and suppressed.
NEAREST = 8  # Latents.


def chosen(text: str, d_sae: int) -> np.ndarray:
    """Returns the latents that "0-99,512" names, int32, rising; all for "".

    Raises:
      UserError: it is not written so, or there is no such latent.
    """
    if not text:
        return np.arange(d_sae, dtype=np.int32)
    wanted: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if match is None:
            raise errors.UserError(f"--latents={text}: write numbers and ranges, as in 0-99,512")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < d_sae:
            raise errors.UserError(f"--latents={text}: latents are from 0 to {d_sae - 1}")
        wanted |= set(range(first, last + 1))
    return np.array(sorted(wanted), np.int32)


def measured(folder: Path) -> str:
    """Returns in a line what a finished run has found, or "" for one that is not."""
    try:
        results = json.loads((folder / "results.json").read_text())
    except (OSError, ValueError):
        return ""
    said = []
    for metric, name in (("fvu", "FVU"), ("l0", "L0"), ("recovered_zero", "loss recovered")):
        found = [value for key, value in results.items() if key.endswith(f"/{metric}")]
        if found:
            share = metric == "recovered_zero"
            said.append(f"{name} {100 * found[0]:.1f} %" if share else f"{name} {found[0]:.3g}")
    return ", ".join(said)


def described(
    run: opened.Opened, folder: Path, settings: examples.Settings, d_sae: int
) -> dict[str, Any]:
    """Returns what the page says of the run that lies in a folder."""
    site = " → ".join(
        " + ".join(sites) for sites in (run.data.sites, run.data.target_sites) if sites
    )
    kind = type(run.task.method.model).__name__
    return {
        "about": {
            "title": folder.resolve().name,
            "text": f"{kind} of {site} in {run.model.name}, "
            f"{run.data.length:,} tokens of {run.data.spec.name} ({run.data.spec.split})",
            "measured": measured(folder),
        },
        "settings": {
            "bins": settings.bins,
            "bands": settings.bands,
            "tokens": min(TOKENS, run.model.vocab),
            "nearest": min(NEAREST, d_sae - 1),
        },
    }


def columns(
    run: opened.Opened,
    found: examples.Found,
    latents: np.ndarray,
    settings: examples.Settings,
    rows: np.ndarray,
    before: int,
    after: int,
    batch_size: int,
) -> dict[str, Any]:
    """Returns the columns of the page, and the tokens that they speak of.

    Args:
      run: that is shown.
      found: in its data.
      latents: int32 `[latents]`, those that the page shows.
      settings: with which it was found.
      rows: `[d_sae, d_out]`, decoder rows.
      before: tokens shown in front of an example.
      after: tokens shown behind it.
      batch_size: rows that are encoded at once.
    """
    sizes = (settings.top, *[settings.each] * settings.bands)
    row, value = (
        np.concatenate([top[latents], drawn[latents].reshape(len(latents), -1)], axis=1)
        for top, drawn in (
            (found.top_row, found.sample_row),
            (found.top_value, found.sample_value),
        )
    )
    there = row >= 0
    starts = np.cumsum([0, *sizes[:-1]])
    of = np.broadcast_to(latents[:, None], row.shape)[there]
    pieces = contexts.around(
        *(run.data, run.encoder(), row[there], of, before, after, batch_size),
        bos=run.model.tokenizer.bos,
    )
    share = pieces.codes / np.repeat(found.largest[of], pieces.length)
    # What is above 0 is shown as more than 0.
    active = share > 0
    activation = np.clip(np.round(share[active] * 255), 1, 255).astype(np.uint8)
    piece = np.repeat(np.arange(len(of)), pieces.length)[active]
    offset = np.cumsum(pieces.length) - pieces.length
    cosine, kin = (array[latents] for array in directions.nearest(rows, NEAREST))
    numbers = {
        "number": latents,
        "density": found.density[latents],
        "mean": found.mean[latents],
        "largest": found.largest[latents],
        "histogram": found.histogram[latents].ravel(),
        "examples": np.add.reduceat(there, starts, axis=1, dtype=np.int32).ravel(),
        "start": pieces.start,
        "length": pieces.length,
        "peak": pieces.peak,
        "cut": pieces.cut,
        "value": value[there],
        "active": np.bincount(piece, minlength=len(of)),
        "active_token": np.flatnonzero(active) - offset[piece],
        "activation": activation,
        "nearest_latent": kin.ravel(),
        "nearest_cosine": cosine.ravel(),
    }
    tokens = {"stream": pieces.stream, **favoured(run, rows[latents], numbers)}
    ids, place = np.unique(np.concatenate(list(tokens.values())), return_inverse=True)
    ends = np.cumsum([len(array) for array in tokens.values()])[:-1]
    numbers |= dict(zip(tokens, np.split(place.ravel(), ends), strict=True))
    vocab = ["\0" if i == contexts.GAP else run.model.tokenizer.token_text(int(i)) for i in ids]
    return {"vocab": vocab, "columns": {name: page.column(a) for name, a in numbers.items()}}


def favoured(
    run: opened.Opened, rows: np.ndarray, numbers: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns the tokens that rows promote and suppress, and puts how much into `numbers`.

    Nothing where the last site is not of the residual stream, or the output matrix is not known.
    """
    site = run.written[-1]
    if not directions.in_stream(site):
        print(f"{site} is not the residual stream: no promoted tokens", file=sys.stderr)
        return {}
    try:
        matrix = directions.unembedding(run.model)
    except errors.UserError as error:
        print(f"{error}: no promoted tokens", file=sys.stderr)
        return {}
    last = rows[:, sum(run.widths[:-1]) :]
    up, promoted, down, suppressed = directions.logits(last, matrix, min(TOKENS, run.model.vocab))
    numbers |= {"promoted_value": up.ravel(), "suppressed_value": down.ravel()}
    return {"promoted_token": promoted.ravel(), "suppressed_token": suppressed.ravel()}
