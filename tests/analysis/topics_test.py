import numpy as np
import pytest

from sae_jax import errors
from sae_jax.analysis import probe, topics

DRAW = np.random.RandomState(0)
X = DRAW.standard_normal((23, 5)).astype(np.float32)
DOCUMENTS = np.repeat([7, 2, 9], [10, 1, 12])  # In the order in which they lie.


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_a_document_is_the_mean_of_its_tokens(batch_size):
    encode = {"raw": lambda x: x, "relu": lambda x: np.maximum(x, 0)}
    found, names = topics.pooled(lambda index: X[index], DOCUMENTS, encode, batch_size)
    assert names.tolist() == [2, 7, 9]
    for place, name in enumerate(names):
        tokens = X[name == DOCUMENTS]
        np.testing.assert_allclose(found["raw"][place], tokens.mean(axis=0), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found["relu"][place], np.maximum(tokens, 0).mean(axis=0), 1e-5)


def test_a_random_dictionary_keeps_the_k_largest_projections():
    codes = topics.random_dictionary(5, 40, 3, X.mean(axis=0), seed=1)(X)
    w = np.random.RandomState(1).standard_normal((5, 40))
    pre = (X - X.mean(axis=0)) @ (w / np.linalg.norm(w, axis=0))
    for row, expected in zip(codes, pre, strict=True):
        kept = np.flatnonzero(row)
        assert set(kept) == set(np.argsort(expected)[-3:])
        np.testing.assert_allclose(row[kept], expected[kept], rtol=1e-4)


def _examples(seed, rows=200, classes=3):
    draw = np.random.RandomState(seed)
    label = draw.randint(-1, classes, rows)
    codes = draw.rand(rows, 8)
    for number in range(classes):
        codes[label == number, number] += 2
    return probe.Examples(codes, label)


def test_a_latent_of_a_class_tells_it():
    found = topics.accuracies(_examples(1), _examples(2))
    assert found["classes"] == 3
    assert found["probe_1"] > 0.99


def test_small_classes_are_left_out_and_too_few_are_an_error():
    train, test = _examples(1), _examples(2)
    test.label[np.flatnonzero(test.label == 2)[5:]] = -1
    assert topics.accuracies(train, test)["classes"] == 2
    test.label[test.label == 1] = -1
    with pytest.raises(errors.DataError, match="1 classes have 10 documents or more"):
        topics.accuracies(train, test)
