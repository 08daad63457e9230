"""Pieces of text around examples, and whether the text goes on beside them."""

import numpy as np

from sae_jax.analysis import contexts
from sae_jax.data import activations
from sae_jax.store import plan as plans, sequences, writer

BOS = 1


def test_what_begins_behind_the_first_token_is_not_cut_in_front(tmp_path):
    plan = plans.Plan({"x": 2}, "float32", {"test": [12]}, {})
    ids = np.arange(12, dtype=np.int32).reshape(3, 4) + 2
    ids[:, 0] = BOS
    documents = np.array([0, 1, 1], np.int32)  # The third sequence goes on with a document.
    tokens = sequences.Sequences(ids, np.full(3, 4, np.int32), documents)
    found = writer.Writer(tmp_path, plan, tokens)
    found.write(0, {"x": np.ones((12, 2))}, np.arange(12) % 4 == 0)
    assert found.finish()
    data = activations.load("test", str(tmp_path), "x")
    rows = data.kept[0].index(np.array([2, 3, 6, 10]))

    def cut(bos):
        pieces = contexts.around(data, _ones, rows, np.zeros(4, int), before=1, after=9, bos=bos)
        assert pieces.length.tolist() == [3, 2, 3, 3]
        return pieces.cut.tolist()

    assert cut(BOS) == [0, 1, 2, 1]
    assert cut(None) == [1, 1, 3, 1]


def _ones(index):
    return np.ones((len(index), 1), np.float32)
