"""Examples by number, and the order in which training meets them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors
from sae_jax.data import base
from sae_jax.ops import permute


def toy(x: np.ndarray, label: np.ndarray | None = None) -> base.Arrays:
    return base.from_splits("toy", "train", {"train": (x, label)})


@pytest.mark.parametrize("n", [1, 2, 3, 5, 1000, 60_000])
def test_permute_is_a_permutation_alike_on_host_and_device(n: int) -> None:
    index = np.arange(n, dtype=np.uint32)
    host = permute.at(permute.round_keys(3, np.int32(2)), index, n)
    device = permute.at(permute.round_keys(3, jnp.int32(2)), jnp.asarray(index), n)
    np.testing.assert_array_equal(np.sort(host), index)
    np.testing.assert_array_equal(host, device)


def test_permute_is_spread_evenly() -> None:
    n = 1000
    index = np.arange(n, dtype=np.uint32)
    keys = [permute.round_keys(0, np.int32(epoch)) for epoch in range(400)]
    first = np.array([permute.at(key, index, n)[0] for key in keys])
    assert abs(first.mean() - n / 2) < 5 * n / np.sqrt(12 * len(keys))
    fixed = np.mean([(permute.at(key, index, n) == index).sum() for key in keys])
    assert 0.7 < fixed < 1.3


@pytest.mark.parametrize("n", [0, 2**31])
def test_permute_refuses_sizes_it_cannot_do(n: int) -> None:
    with pytest.raises(ValueError, match="cannot permute"):
        permute.at(permute.round_keys(0, np.int32(0)), np.zeros(1, np.uint32), n)


def epoch_of(seed: int, epoch: int, batch_size: int, n: int) -> np.ndarray:
    steps = n // batch_size
    step = range(epoch * steps, (epoch + 1) * steps)
    return np.concatenate([base.order(seed, np.int32(s), batch_size, n) for s in step])


@pytest.mark.parametrize(("batch_size", "n"), [(1, 1), (1, 5), (4, 12), (7, 60), (128, 1000)])
def test_an_epoch_repeats_nothing(batch_size: int, n: int) -> None:
    seen = epoch_of(0, 0, batch_size, n)
    assert seen.dtype == np.int32
    assert len(seen) == len(np.unique(seen)) == n // batch_size * batch_size
    assert seen.min() >= 0
    assert seen.max() < n


def test_order_differs_by_epoch_and_seed() -> None:
    first = epoch_of(0, 0, 10, 100)
    np.testing.assert_array_equal(first, epoch_of(0, 0, 10, 100))
    assert (first == epoch_of(0, 1, 10, 100)).mean() < 0.1
    assert (first == epoch_of(1, 0, 10, 100)).mean() < 0.1


@pytest.mark.parametrize("step", [0, 1, 7, 123_456])
def test_order_is_the_same_on_host_and_device(step: int) -> None:
    host = base.order(5, np.int32(step), 128, 1000)
    device = jax.jit(lambda s: base.order(5, s, 128, 1000))(jnp.int32(step))
    assert device.dtype == jnp.int32
    np.testing.assert_array_equal(host, device)


@pytest.mark.parametrize("batch_size", [0, -1, 11])
def test_order_refuses_a_batch_that_does_not_fit(batch_size: int) -> None:
    with pytest.raises(errors.UserError, match="batch_size"):
        base.order(0, np.int32(0), batch_size, 10)


@pytest.mark.parametrize(
    ("split", "rows"),
    [
        ("train", range(0, 200)),
        ("train[:]", range(0, 200)),
        ("train[:50]", range(0, 50)),
        ("train[50:]", range(50, 200)),
        ("train[10:20]", range(10, 20)),
        ("train[-30:]", range(170, 200)),
        ("train[:-30]", range(0, 170)),
        ("train[:10%]", range(0, 20)),
        ("train[-10%:]", range(180, 200)),
        ("train[25%:-25%]", range(50, 150)),
        ("train[:1000]", range(0, 200)),
    ],
)
def test_split_picks_rows(split: str, rows: range) -> None:
    x = np.arange(200).reshape(200, 1)
    data = base.from_splits("toy", split, {"train": (x, x[:, 0])})
    assert data.x[:, 0].tolist() == list(rows)
    assert data.label is not None
    assert data.label.tolist() == list(rows)
    assert data.spec.split == split


@pytest.mark.parametrize("split", ["", "train[", "train[5]", "train[a:b]", "train[:5] ", "a b"])
def test_split_that_is_not_understood_is_told(split: str) -> None:
    with pytest.raises(errors.DataError, match="is not understood"):
        base.parse_split(split)


def test_split_that_is_absent_or_empty_is_told() -> None:
    splits: dict[str, tuple[np.ndarray, np.ndarray | None]] = {"train": (np.ones((3, 1)), None)}
    with pytest.raises(errors.DataError, match='no split "test": it has train'):
        base.from_splits("toy", "test", splits)
    with pytest.raises(errors.DataError, match="is empty"):
        base.from_splits("toy", "train[3:]", splits)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_number_that_is_not_finite_is_named(bad: float) -> None:
    x = np.zeros((5, 4), np.float32)
    x[3, 2] = bad
    with pytest.raises(errors.DataError, match="example 3, number 2"):
        toy(x)


def test_shapes_that_do_not_fit_are_told() -> None:
    with pytest.raises(errors.DataError, match="4 examples but 3 labels"):
        toy(np.zeros((4, 2)), np.zeros(3))
    with pytest.raises(errors.DataError, match="have shape"):
        base.Arrays(base.Spec("toy", "train", (3,)), np.zeros((4, 2)))


def test_integers_are_scaled_and_floats_are_not() -> None:
    pixels = toy(np.array([[0, 51, 255]], np.uint8), np.array([7]))
    batch = pixels.at({k: jnp.asarray(v) for k, v in pixels.source.items()}, jnp.array([0, 0]))
    assert batch.x.dtype == jnp.float32
    np.testing.assert_allclose(batch.x, [[0, 0.2, 1]] * 2, rtol=1e-6)
    assert batch.label is not None
    assert batch.label.tolist() == [7, 7]
    floats = toy(np.array([[0.5, 2.0]]))
    raw = {name: jnp.asarray(array) for name, array in floats.rows(np.array([0])).items()}
    np.testing.assert_allclose(floats.decode(raw).x, [[0.5, 2.0]])
    assert floats.decode(raw).label is None


def test_examples_are_flattened() -> None:
    data = toy(np.zeros((5, 2, 3, 1)))
    assert data.spec.shape == (6,)
    assert data.spec.d_in == 6
    assert data.length == 5
    assert data.resident


@pytest.mark.parametrize(("n", "size"), [(1, 1), (1, 8), (10, 3), (12, 4), (5, 100)])
def test_batches_cover_each_example_once(n: int, size: int) -> None:
    seen: list[int] = []
    for index, mask in base.batches(n, size):
        assert index.shape == mask.shape == (size,)
        assert index.max() < n
        seen += index[mask > 0].tolist()
    assert seen == list(range(n))


def test_targets_are_scaled_as_examples_are_and_checked() -> None:
    spec = base.Spec("toy", "train", (2,), None, (3,))
    assert (spec.d_in, spec.d_out) == (2, 3)
    x, y = np.array([[0, 255]], np.uint8), np.array([[51, 0, 255]], np.uint8)
    data = base.Arrays(spec, x, y=y)
    batch = data.decode({name: jnp.asarray(array) for name, array in data.source.items()})
    np.testing.assert_allclose(batch.target, [[0.2, 0, 1]], rtol=1e-6)
    assert data.fingerprint() != base.Arrays(spec, x, y=y + 1).fingerprint()
    with pytest.raises(errors.DataError, match=r"targets have shape \(2,\), not \(3,\)"):
        base.Arrays(spec, x, y=x)
    with pytest.raises(errors.DataError, match="1 examples but 2 targets"):
        base.Arrays(spec, x, y=np.ones((2, 3)))
    with pytest.raises(errors.DataError, match="number 1 of the target is nan"):
        base.Arrays(spec, x, y=np.array([[0.0, np.nan, 0.0]]))


def test_classes_are_picked_by_their_labels() -> None:
    data = toy(np.arange(6).reshape(6, 1), np.array([0, 1, 2, 0, 1, 2]))
    assert base.of_classes(data, ()) is data
    chosen = base.of_classes(data, (2, 0))
    assert chosen.x[:, 0].tolist() == [0, 2, 3, 5]
    assert chosen.label is not None
    assert chosen.label.tolist() == [0, 2, 0, 2]
    with pytest.raises(errors.DataError, match="classes \\(7,\\): it has 0, 1, 2"):
        base.of_classes(data, (7,))
    with pytest.raises(errors.DataError, match="has no labels"):
        base.of_classes(toy(np.zeros((3, 1))), (1,))


def test_a_grid_of_three_is_a_picture() -> None:
    assert base.Spec("toy", "train", (12,), (2, 3, 2)).image_shape == (2, 3, 2)
    assert base.Spec("toy", "train", (12,), (6, 2)).image_shape is None
    assert base.Spec("toy", "train", (12,)).image_shape is None


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_shuffled_rows_are_all_rows_once(n: int) -> None:
    for seed in (0, 2**32 - 1):
        np.testing.assert_array_equal(np.sort(base.shuffled(n, seed)), np.arange(n))


def test_shuffled_order_is_of_the_seed_and_stays() -> None:
    assert base.shuffled(7, 0).tolist() == [6, 4, 0, 1, 2, 3, 5]
    assert base.shuffled(7, 1).tolist() == [2, 0, 1, 3, 4, 6, 5]


def test_seed_that_fits_no_word_is_refused() -> None:
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match=f"{seed} cannot decide an order"):
            base.shuffled(5, seed)
