"""MovieLens-100k as who liked what: rank the films that a new user will like.

The protocol of Liang, Krishnan, Hoffman & Jebara 2018, "Variational autoencoders for collaborative
filtering" (strong generalisation), on the ratings of `sae_jax/data/movielens.py`, terms there.
"""

import dataclasses

import numpy as np

from sae_jax import errors
from sae_jax.data import base, movielens


def load(
    split: str,
    folder: str = "",
    threshold: int = 4,
    fold: int = 0,
    held_out_users: float = 0.1,
    held_out: float = 0.2,
    least: int = 5,
) -> base.Arrays:
    """Returns users, none in two splits: 1 for each of 1,682 films that a user liked, 0 elsewhere.

    Of a "valid" or "test" user `y` is a share `held_out` of the liked films, rounded down but one
    at least, and `x` are the others; of a "train" user both are all of them. A metric has to leave
    the films of `x` out of its ranking. Films that no "train" user liked are taken from the other
    users; their columns stay, all zero, and so column `j` is film `j` in every fold. A user who
    liked fewer than `least` films, or who is left with fewer than two, is in no split.

    Args:
      split: or rows of one.
      folder: with u.data. Empty: the cache, or else it is fetched.
      threshold: least rating that counts as liked.
      fold: which random split, a seed.
      held_out_users: share of the users in "valid", and as many in "test".
      held_out: share of the liked films of each that are to be found.
      least: films that a user must have liked.
    """
    if not (0 < held_out_users < 0.5 and 0 < held_out < 1 and least >= 2):
        raise errors.DataError(
            f"held_out_users={held_out_users}, held_out={held_out}, least={least} leave nothing to "
            "learn or to find: set shares above 0, below 0.5 and 1, and least to 2 or more"
        )
    ratings = movielens.read(folder)
    liked = ratings[ratings[:, 2] >= threshold, :2]
    # In random order, so that the first films of a user are a random choice.
    liked = liked[base.shuffled(len(liked), fold)] if len(liked) else liked
    x = np.zeros(ratings[:, :2].max(0) + 1, np.uint8)
    x[liked[:, 0], liked[:, 1]] = 1

    users = np.flatnonzero(x.sum(1, dtype=np.int64) >= least)
    n = round(held_out_users * len(users))
    if not n:
        raise errors.DataError(
            f"{len(users)} users liked {least} films or more: too few to hold out some"
        )
    users = users[base.shuffled(len(users), fold)]
    known = x[users[2 * n :]].any(0)
    x[users[: 2 * n]] *= known
    parts = {"train": users[2 * n :], "valid": users[:n], "test": users[n : 2 * n]}
    parts = {part: np.sort(chosen[x[chosen].sum(1) >= 2]) for part, chosen in parts.items()}

    y = np.zeros_like(x)
    for user in np.concatenate([parts["valid"], parts["test"]]):
        films = liked[(liked[:, 0] == user) & known[liked[:, 1]], 1]
        y[user, films[: max(1, int(held_out * len(films)))]] = 1
    splits: dict[str, tuple[np.ndarray, np.ndarray | None]] = {
        part: (x[chosen] - y[chosen], None) for part, chosen in parts.items()
    }
    data = base.from_splits("movielens_implicit", split, splits, scale=1.0)
    part, cut = base.parse_split(split)
    if part == "train":
        return data
    return dataclasses.replace(data, y=base.cut(y[parts[part]], cut))
