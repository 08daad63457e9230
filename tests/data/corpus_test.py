import numpy as np
import pytest

from sae_jax import errors
from sae_jax.data import corpus
from sae_jax.lm import folder
from tests.lm import tiny

DOCUMENTS = [("the hen. " * (1 + i % 5) + "abcdefghij"[: i % 10]).strip() for i in range(40)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tiny.write(path)
    return folder.load(str(path))


def test_sequences_of_like_lengths_are_read_together_each_once(model):
    found = corpus.cut(model, DOCUMENTS, 12, held_out=0.1).sequences
    read, places = [], 0
    for rows, ids, mask in corpus.batches(found, range(3, len(found.ids)), 4):
        assert ids.shape == mask.shape
        assert ids.shape[1] in (3, 6, 9, 12)
        assert ids.size <= 4 * 12
        for row, got, there in zip(rows, ids, mask, strict=False):
            length = found.lengths[row]
            assert there.tolist() == [column < length for column in range(ids.shape[1])]
            np.testing.assert_array_equal(got[:length], found.ids[row, :length])
        read += rows.tolist()
        places += ids.size
    assert sorted(read) == list(range(3, len(found.ids)))
    assert places < 12 * len(read)


def test_a_length_the_model_cannot_read_is_refused(model):
    with pytest.raises(errors.UserError, match="sequences of 2 to 32 tokens"):
        corpus.cut(model, DOCUMENTS, 64)
    with pytest.raises(errors.UserError, match="4 documents leave nothing for"):
        corpus.cut(model, ["", "", "", "the hen"], 12, held_out=0.25)
