"""Three features with three children each, and eight without: a toy of feature absorption.

  features  20 orthogonal rows in 20 dimensions, of norms 1 + 0.05 N(0, 1)
  parents   on with probability 0.15, each for itself
  children  of a parent that is on: one of three with probability 0.2 each, or none with 0.4
  others    on with probability 0.05
  how much  1

(Nabeshima 2024, "Matryoshka Sparse Autoencoders"; 1.12 features are on in the mean.) A child is
never seen without its parent: to write both with one latent, and to keep the parent's silent then,
costs a sparsity term less than the truth does.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sae_jax.data import world

PARENTS = np.asarray([-1, 0, 0, 0, -1, 4, 4, 4, -1, 8, 8, 8, *[-1] * 8])
COUNTS = {"train": 1_000_000_000, "valid": 20_000, "test": 100_000}
_FAMILIES, _CHILDREN, _OTHERS = 3, 3, 8
_PARENT, _CHILD, _OTHER = 0.15, 0.2, 0.05


def load(split: str, seed: int = 0) -> world.World:
    """Returns a split: "train" has a thousand million examples, "valid" 20,000, "test" 100,000.

    Args:
      split: or a part of it.
      seed: of the features and of the codes.
    """
    random = np.random.RandomState(seed)
    rows = np.linalg.qr(random.standard_normal((len(PARENTS), len(PARENTS))))[0]
    norms = 1 + 0.05 * random.standard_normal((len(PARENTS), 1))
    return world.load("tree", split, COUNTS, norms * rows, draw_codes, seed, parents=PARENTS)


def draw_codes(key: jax.Array) -> jax.Array:
    """Returns the codes `[20]` of one example: a parent, its children, the next, and the others."""
    of_parents, of_children, of_others = jax.random.split(key, 3)
    on = jax.random.bernoulli(of_parents, _PARENT, (_FAMILIES, 1))
    # In which fifth a number falls says which child it is; in the last two it is none.
    chance = jax.random.uniform(of_children, (_FAMILIES, 1))
    which = jnp.arange(_CHILDREN)[None]
    children = (chance >= which * _CHILD) & (chance < (which + 1) * _CHILD) & on
    others = jax.random.bernoulli(of_others, _OTHER, (_OTHERS,))
    families = jnp.concatenate([on, children], axis=1).ravel()
    return jnp.concatenate([families, others]).astype(jnp.float32)
