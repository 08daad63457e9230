"""How many of fifty atoms are found in 1,500 signals of three atoms each, with noise of 20 dB.

An atom is found if some learned one has 1 - |cosine| below 0.01. Every seed has atoms and signals
of its own. K-SVD codes by orthogonal matching pursuit, 80 rounds, and replaces atoms that three
signals or fewer use or that are alike, as its authors do; dictionary learning with an L1 term is
that of scikit-learn, 200 rounds. PCA has as many components as there are dimensions, at right
angles to one another, as atoms are not. A frozen decoder keeps its random rows: no code finds an
atom that is not there.
"""

from collections.abc import Sequence
from typing import Any
import warnings

from matplotlib.figure import Figure
import numpy as np
from sklearn import decomposition, exceptions, linear_model

from experiments import tables
from experiments.tables import baselines
from sae_jax.data import base, ksvd
from sae_jax.ops import dictionaries

TITLE = "Dictionary recovery: fifty atoms from 1,500 signals"
COLUMNS = {"atoms": "atoms found, of 50", "mcc": "MCC"}
SIZE = (6.4, 3.4)
_CONFIG = "configs/papers/ksvd.py"
_ALIKE = 0.99
_LASSO = 0.1  # On seed 100, where 0.05, 0.2 and 0.4 found all atoms too.


ROWS = (
    tables.Row("true atoms"),
    tables.Row("PCA, 20 components"),
    tables.Row("random signals"),
    tables.Row("K-SVD"),
    tables.Row("dictionary learning, L1"),
    tables.Row("matching pursuit, 3 steps", f"{_CONFIG}:matching_pursuit"),
    tables.Row("AbsTopK, k = 3, frozen decoder", _CONFIG, {"optim.constraint": "frozen_rows"}),
    tables.Row("AbsTopK, k = 3", _CONFIG),
    tables.Row("AbsTopK, k = 2", _CONFIG, {"model.activation.k": 2}),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns how many atoms of the run's world are found in its decoder, or by a classic."""
    data: Any = ksvd.load("train", seed=seed) if run is None else run.task.data
    if row.label == "true atoms":
        found = data.features
    elif run is not None:
        found = np.asarray(run.state.params["w_dec"])
    else:
        x = np.asarray(base.first(data, data.length).x, np.float64)
        found = _CLASSICS[row.label](x, seed)
    return {
        "atoms": dictionaries.atoms_recovered(found, data.features),
        "mcc": dictionaries.mcc(found, data.features),
    }


def at_random(x: np.ndarray, seed: int) -> np.ndarray:
    """Returns fifty of the signals `[n, d]`, at norm 1: where K-SVD starts."""
    chosen = np.random.RandomState(seed).choice(len(x), ksvd.N_FEATURES, replace=False)
    return dictionaries.unit(x[chosen])


def by_ksvd(x: np.ndarray, seed: int, rounds: int = 80) -> np.ndarray:
    """Returns the dictionary `[50, d]` that K-SVD finds (Aharon, Elad & Bruckstein 2006)."""
    atoms = at_random(x, seed)
    for _ in range(rounds):
        codes = _pursued(atoms, x)
        for atom in range(len(atoms)):
            users = np.flatnonzero(codes[:, atom])
            if not len(users):
                continue
            # What these signals leave without the atom: its best single direction.
            left = x[users] - codes[users] @ atoms + np.outer(codes[users, atom], atoms[atom])
            u, s, v = np.linalg.svd(left, full_matrices=False)
            atoms[atom], codes[users, atom] = v[0], s[0] * u[:, 0]
        _replace_useless(atoms, codes, x)
    return atoms


def _pursued(atoms: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Returns the codes `[n, 50]` of orthogonal matching pursuit, three atoms a signal."""
    with warnings.catch_warnings():
        # A signal that is an atom, as at the start, leaves nothing for a second one.
        warnings.filterwarnings("ignore", "Orthogonal matching pursuit ended", RuntimeWarning)
        return linear_model.orthogonal_mp(atoms.T, x.T, n_nonzero_coefs=ksvd.ACTIVE).T


def _replace_useless(atoms: np.ndarray, codes: np.ndarray, x: np.ndarray) -> None:
    """Puts the signals that are explained worst in the place of atoms that do nothing, or twice."""
    errors = ((x - codes @ atoms) ** 2).sum(axis=1)
    for atom in range(len(atoms)):
        likeness = np.abs(np.delete(atoms, atom, axis=0) @ atoms[atom]).max()
        if likeness > _ALIKE or (codes[:, atom] != 0).sum() <= ksvd.ACTIVE:
            worst = errors.argmax()
            errors[worst] = 0
            atoms[atom] = x[worst] / np.linalg.norm(x[worst])


def by_l1(x: np.ndarray, seed: int) -> np.ndarray:
    """Returns the dictionary `[50, d]` of scikit-learn's alternation with an L1 term."""
    learned = decomposition.DictionaryLearning(
        ksvd.N_FEATURES, alpha=_LASSO, fit_algorithm="cd", max_iter=200, random_state=seed
    )
    with warnings.catch_warnings():
        # Of single rounds, which need not converge.
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        return learned.fit(x).components_


def by_pca(x: np.ndarray, seed: int) -> np.ndarray:
    """Returns the principal components `[d, d]`."""
    del seed
    return baselines.pca(x, x.shape[1]).components_


_CLASSICS = {
    "PCA, 20 components": by_pca,
    "random signals": at_random,
    "K-SVD": by_ksvd,
    "dictionary learning, L1": by_l1,
}


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws how many atoms each finds."""
    tables.draw_bars(lines, "atoms", COLUMNS["atoms"], figure)
