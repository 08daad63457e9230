"""A classifier on a trained encoder: a softmax layer on the codes, trained on labels.

The whole encoder moves with it (fine-tuning, as in Vincent et al. 2010 and Rifai et al. 2011), or
it stays as it is and only the softmax layer learns. Which epoch is kept is decided by the error on
a validation split; the test split is looked at once, with the parameters of that epoch.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sae_jax import errors, types
from sae_jax.data import base
from sae_jax.train import step

Encode = Callable[[types.PyTree, jax.Array], jax.Array]

_ROWS = 2000  # Examples that are classified at once; no number depends on it.


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a classifier is trained: Adam on the cross-entropy.

    Attributes:
      epochs: at most.
      patience: epochs without a lower validation error after which it ends.
      batch_size: examples in a step.
      learning_rate: of Adam.
      decay: whether the learning rate falls to 0 over `epochs`, along half a cosine.
      frozen: whether the encoder stays as it is.
    """

    epochs: int = 40
    patience: int = 10
    batch_size: int = 100
    learning_rate: float = 1e-3
    decay: bool = False
    frozen: bool = False


@dataclasses.dataclass(frozen=True)
class Splits:
    """What is learnt from, what chooses the epoch, and what is reported."""

    train: base.Arrays
    valid: base.Arrays
    test: base.Arrays


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of it; errors are shares of the examples.

    Attributes:
      test: error on the test split, at the kept epoch.
      valid: error on the validation split, at the kept epoch.
      epoch: the kept epoch, from 0: the first of those with the lowest validation error.
      history: validation error after each epoch.
    """

    test: float
    valid: float
    epoch: int
    history: tuple[float, ...]


def run(
    method: step.Method,
    state: step.State,
    splits: Splits,
    settings: Settings | None = None,
    seed: int = 0,
) -> Result:
    """Puts a softmax layer on the codes of a model and trains it, or both, on labels.

    Args:
      method: of the model.
      state: its parameters; an untrained one tells what pretraining is worth.
      splits: with labels.
      settings: how.
      seed: fixes the order of the examples. The softmax layer starts at 0.

    Raises:
      DataError: a split has no labels.
    """
    settings = settings or Settings()
    if settings.frozen:
        return of_codes(_encoded(method, state, splits), settings, seed)

    def encode(params: types.PyTree, x: jax.Array) -> jax.Array:
        moved = dataclasses.replace(state, params=params)
        return step.reconstruct(method, moved, types.Batch(x=x)).codes

    return _train(encode, state.params, state.idle.size, splits, settings, seed)


def of_codes(splits: Splits, settings: Settings | None = None, seed: int = 0) -> Result:
    """Trains a softmax layer on the examples themselves: pixels, or codes of any origin."""
    settings = settings or Settings()
    return _train(lambda params, x: x, {}, splits.train.spec.d_in, splits, settings, seed)


def _encoded(method: step.Method, state: step.State, splits: Splits) -> Splits:
    """Returns the splits with codes in place of examples."""

    def encoded(data: base.Arrays) -> base.Arrays:
        parts = []
        for index, mask in base.batches(data.length, _ROWS):
            batch = data.decode(jax.tree.map(jnp.asarray, data.rows(index)))
            parts.append(np.asarray(codes(batch))[mask > 0])
        spec = dataclasses.replace(data.spec, shape=parts[0].shape[1:], grid=None)
        return base.Arrays(spec, np.concatenate(parts), data.label)

    @jax.jit
    def codes(batch: types.Batch) -> jax.Array:
        return step.reconstruct(method, state, batch).codes

    return Splits(*(encoded(data) for data in (splits.train, splits.valid, splits.test)))


def _train(
    encode: Encode,
    params: types.PyTree,
    width: int,
    splits: Splits,
    settings: Settings,
    seed: int,
) -> Result:
    """Trains, and measures the test split with the parameters of the best epoch."""
    labels = [_labels(data) for data in (splits.train, splits.valid, splits.test)]
    classifier = _Classifier(encode, splits.train, settings, seed)
    params = classifier.start(params, width, classes=1 + max(int(label.max()) for label in labels))
    carry, best, history = (params, classifier.optimizer.init(params)), params, []
    for number in range(settings.epochs):
        carry = classifier.epoch(carry, number)
        history.append(classifier.error(carry[0], splits.valid))
        epoch = int(np.argmin(history))
        if epoch == number:
            best = carry[0]
        if number - epoch >= settings.patience:
            break
    return Result(classifier.error(best, splits.test), history[epoch], epoch, tuple(history))


def _labels(data: base.Arrays) -> np.ndarray:
    if data.label is None:
        raise errors.DataError(f"{data.spec.name} ({data.spec.split}) has no labels to learn")
    return data.label


class _Classifier:
    """A softmax layer on an encoder, and the programs that train and test both."""

    def __init__(self, encode: Encode, data: base.Arrays, settings: Settings, seed: int) -> None:
        self._encode, self._data, self._seed = encode, data, seed
        self._batch_size = min(settings.batch_size, data.length)
        self._source = jax.tree.map(jnp.asarray, data.source)
        rate: optax.ScalarOrSchedule = settings.learning_rate
        if settings.decay:
            steps = settings.epochs * (data.length // self._batch_size)
            rate = optax.cosine_decay_schedule(settings.learning_rate, steps)
        self.optimizer = optax.adam(rate)
        self._jitted_epoch, self._jitted_logits = jax.jit(self._epoch), jax.jit(self._logits)

    def start(self, params: types.PyTree, width: int, classes: int) -> types.PyTree:
        """Returns the encoder's parameters, and a softmax layer of zeros."""
        layer = {"w": jnp.zeros((width, classes)), "b": jnp.zeros(classes)}
        return {"encoder": params, "layer": layer}

    def epoch(self, carry: tuple, number: int) -> tuple:
        """Returns parameters and optimiser's state after epoch `number`."""
        return self._jitted_epoch(carry, self._source, number)

    def error(self, params: types.PyTree, data: base.Arrays) -> float:
        """Returns the share of examples whose largest logit is not that of their label."""
        wrong = 0.0
        for index, mask in base.batches(data.length, _ROWS):
            batch = data.decode(jax.tree.map(jnp.asarray, data.rows(index)))
            found = np.asarray(self._jitted_logits(params, batch.x)).argmax(axis=-1)
            wrong += float(((found != np.asarray(batch.label)) * mask).sum())
        return wrong / data.length

    def _epoch(self, carry: tuple, source: dict[str, jax.Array], number: jax.Array) -> tuple:
        steps = self._data.length // self._batch_size

        def body(place: jax.Array, carry: tuple) -> tuple:
            params, opt_state = carry
            now = number * steps + place
            index = base.order(self._seed, now, self._batch_size, self._data.length)
            grads = jax.grad(self._loss)(params, self._data.at(source, index))
            updates, opt_state = self.optimizer.update(grads, opt_state, params)
            return optax.apply_updates(params, updates), opt_state

        return jax.lax.fori_loop(0, steps, body, carry)

    def _loss(self, params: types.PyTree, batch: types.Batch) -> jax.Array:
        logits = self._logits(params, batch.x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch.label).mean()

    def _logits(self, params: types.PyTree, x: jax.Array) -> jax.Array:
        codes = self._encode(params["encoder"], x)
        return codes @ params["layer"]["w"] + params["layer"]["b"][None]
