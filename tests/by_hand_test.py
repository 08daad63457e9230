"""Two small autoencoders worked out by hand: every intermediate and every gradient is a literal.

Read it with pencil and paper. The literals were computed with NumPy alone, by the formulas that
stand beside them (`X.T @ d_pre`, never `jax.grad`); where a rectifier's input is exactly 0, its
slope is taken as 0.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.activations import relu
from sae_jax.losses import reconstruction, sparsity
from sae_jax.models import base, mlp, sae

close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def _array(rows):
    return jnp.asarray(rows, jnp.float32)


CONTEXT = types.Context(
    step=jnp.zeros((), jnp.int32), key=jax.random.key(0), dead=jnp.zeros((), bool), train=True
)


def _forward(model, params, x):
    return base.forward(model, params, {}, x, CONTEXT)[0]


class TestDeep:
    """Four inputs through 4 -> 3 -> 2 -> 3 -> 4; ReLU on the three inner layers; squared error."""

    X = _array([[1, 0, 2, 0], [0, 1, 0, 2], [2, 2, 0, 0], [0, 0, 1, 1]])
    MODEL = mlp.Model(
        d_in=4, d_out=4, d_sae=2, activation=relu.Activation(), hidden=(3,), nonlinearity="relu"
    )
    PARAMS = {
        "enc_0": {
            "w": _array([[1, 0, -1], [0, 1, 1], [0.5, -1, 0], [0, 0.5, 1]]),
            "b": _array([0, 0.5, 0]),
        },
        "w_enc": _array([[1, -1], [0.5, 1], [0, 0.5]]),
        "b_enc": _array([0, 0.5]),
        "w_dec": _array([[1, 0, 0.5], [0, 1, -0.5]]),
        "b_dec": _array([0, 0, 0.5]),
        "dec_0": {
            "w": _array([[1, 0, 1, 0], [0, 1, 0, 1], [0.5, 0.5, 0, 0]]),
            "b": _array([0, 0, 0.5, 0]),
        },
    }
    # X w + b = [[2, -1.5, -1], [0, 2.5, 3], [2, 2.5, 0], [0.5, 0, 1]]; what is negative becomes 0.
    H = [[2, 0, 0], [0, 2.5, 3], [2, 2.5, 0], [0.5, 0, 1]]
    PRE = [[2, -1.5], [1.25, 4.5], [3.25, 1], [0.5, 0.5]]  # H w_enc + b_enc
    CODES = [[2, 0], [1.25, 4.5], [3.25, 1], [0.5, 0.5]]
    # CODES w_dec + b_dec = [[2, 0, 1.5], [1.25, 4.5, -1.125], [3.25, 1, 1.625], [0.5, 0.5, 0.5]]
    X_HAT = [
        [2.75, 0.75, 2.5, 0],
        [1.25, 4.5, 1.75, 4.5],
        [4.0625, 1.8125, 3.75, 1],
        [0.75, 0.75, 1, 0.5],
    ]
    ERROR = [3.875, 23.125, 19.3515625, 1.375]  # Rows of (X_HAT - X)^2, summed.
    LOSS = 11.931640625  # Their mean.
    GRADIENTS = {  # From the output back: d_x_hat = 2 (X_HAT - X) / 4, d_w = H.T @ d_pre, ...
        "dec_0": {
            "w": [
                [6.0703125, 2.8203125, 7.6875, 3.0625],
                [4.03125, 7.96875, 5.8125, 6],
                [3.17578125, 0.59765625, 3.421875, 0.6875],
            ],
            "b": [2.90625, 2.40625, 3, 1.5],
        },
        "w_dec": [[13.7578125, 5.1328125, 2.9609375], [9.84375, 13.96875, 0.65625]],
        "b_dec": [5.90625, 3.53125, 1.46875],
        "w_enc": [[9.4375, 0.3125], [11.6015625, 7.9296875], [5.0625, 8.9375]],
        "b_enc": [6.640625, 3.109375],
        "enc_0": {
            "w": [
                [7.375, 3.484375, 0],
                [5.9375, 7.234375, 1.5],
                [3.5, 0, -0.03125],
                [0.625, 7.5, 2.96875],
            ],
            "b": [5.03125, 5.4921875, 1.46875],
        },
    }

    def test_forward(self):
        output = _forward(self.MODEL, self.PARAMS, self.X)
        close(output.pre, self.PRE)
        close(output.codes, self.CODES)
        close(output.x_hat, self.X_HAT)
        batch = types.Batch(x=self.X)
        close(reconstruction.mse_sum(self.PARAMS, batch, output, CONTEXT), self.ERROR)

    def test_layer_by_layer(self):
        h = jnp.maximum(self.X @ self.PARAMS["enc_0"]["w"] + self.PARAMS["enc_0"]["b"][None], 0)
        close(h, self.H)
        close(_array(self.H) @ self.PARAMS["w_enc"] + self.PARAMS["b_enc"][None], self.PRE)

    def test_gradients(self):
        def loss(params):
            output = _forward(self.MODEL, params, self.X)
            return reconstruction.mse_sum(params, types.Batch(x=self.X), output, CONTEXT).mean()

        value, gradients = jax.jit(jax.value_and_grad(loss))(self.PARAMS)
        assert float(value) == pytest.approx(self.LOSS)
        jax.tree.map(close, gradients, jax.tree.map(_array, self.GRADIENTS, is_leaf=_is_list))


class TestSparse:
    """Five activations through 3 -> 6 -> 3: pre-bias, ReLU, L1 weighed by decoder norms."""

    X = _array([[1, 0, 0], [0, 2, 0], [1, 1, 0], [0, 0, -1], [0.5, 0, 1]])
    MODEL = sae.Model(d_in=3, d_sae=6, activation=relu.Activation(), pre_bias=True)
    PARAMS = {
        "w_enc": _array([[1, 0, -1, 0.5, 0, 0], [0, 1, 0, 0.5, -1, 0], [0, 0, 1, 0, 0.5, -1]]),
        "b_enc": _array([0, -0.5, 0, 0, 0.5, -0.25]),
        "w_dec": _array(
            [[0.6, 0.8, 0], [0, 2, 0], [-3, 0, 4], [0.5, 0.5, 0.5], [0, -0.3, 0.4], [0, 0, -1]]
        ),
        "b_dec": _array([0.25, 0, -0.25]),
    }
    LAMBDA = 0.5
    NORMS = [1, 2, 5, 0.8660254, 0.5, 1]  # Of the rows of w_dec.
    PRE = [  # (X - b_dec) w_enc + b_enc
        [0.75, -0.5, -0.5, 0.375, 0.625, -0.5],
        [-0.25, 1.5, 0.5, 0.875, -1.375, -0.5],
        [0.75, 0.5, -0.5, 0.875, -0.375, -0.5],
        [-0.25, -0.5, -0.5, -0.125, 0.125, 0.5],
        [0.25, -0.5, 1, 0.125, 1.125, -1.5],
    ]
    CODES = [
        [0.75, 0, 0, 0.375, 0.625, 0],
        [0, 1.5, 0.5, 0.875, 0, 0],
        [0.75, 0.5, 0, 0.875, 0, 0],
        [0, 0, 0, 0, 0.125, 0.5],
        [0.25, 0, 1, 0.125, 1.125, 0],
    ]
    X_HAT = [  # CODES w_dec + b_dec
        [0.8875, 0.6, 0.1875],
        [-0.8125, 3.4375, 2.1875],
        [1.1375, 2.0375, 0.1875],
        [0.25, -0.0375, -0.7],
        [-2.5375, -0.075, 4.2625],
    ]
    ERROR = [0.4078125, 7.51171875, 1.13046875, 0.15390625, 19.8759375]
    L1 = [1.38725953, 6.25777223, 2.50777223, 0.5625, 5.92075318]  # CODES @ NORMS
    LOSS = 7.479574465851499  # Mean of ERROR + LAMBDA L1.
    GRADIENTS = {  # d_x_hat = 2 (X_HAT - X) / 5; d_codes = d_x_hat w_dec.T + LAMBDA NORMS / 5
        "w_enc": [  # (X - b_dec).T @ d_pre, where d_pre = d_codes [pre > 0]
            [0.38425, 0.435, 1.0975, 0.30240381, 0.125625, 0.005],
            [0.465, 3.73, 9.95, 1.65730762, 0, 0],
            [-0.63375, 0.595, 12.95, 0.45320508, 0.651375, 0.015],
        ],
        "b_enc": [0.077, 2.38, 14.34, 1.34641016, 0.6915, -0.02],
        "w_dec": [  # CODES.T @ d_x_hat + LAMBDA / 5 sum(CODES) w_dec / NORMS
            [-0.19125, 0.62375, 0.43875],
            [-0.46, 1.27, 1.35],
            [-1.4675, 0.2575, 1.8625],
            [-0.27509619, 1.08240381, 1.15240381],
            [-1.3825, 0.001875, 1.68],
            [0.05, -0.0075, 0.01],
        ],
        "b_dec": [12.15979492, -1.17670508, -12.25575],  # sum(d_x_hat) - sum(d_pre) w_enc.T
    }

    def test_forward(self):
        output, batch = _forward(self.MODEL, self.PARAMS, self.X), types.Batch(x=self.X)
        close(output.pre.dense, self.PRE)
        close(output.codes, self.CODES)
        close(output.x_hat, self.X_HAT)
        close(np.linalg.norm(self.PARAMS["w_dec"], axis=1), self.NORMS)
        close(reconstruction.mse_sum(self.PARAMS, batch, output, CONTEXT), self.ERROR)
        close(sparsity.l1_decoder_norm(self.PARAMS, batch, output, CONTEXT), self.L1)

    def test_gradients(self):
        def loss(params):
            output, batch = _forward(self.MODEL, params, self.X), types.Batch(x=self.X)
            error = reconstruction.mse_sum(params, batch, output, CONTEXT)
            l1 = sparsity.l1_decoder_norm(params, batch, output, CONTEXT)
            return (error + self.LAMBDA * l1).mean()

        value, gradients = jax.jit(jax.value_and_grad(loss))(self.PARAMS)
        assert float(value) == pytest.approx(self.LOSS)
        jax.tree.map(close, gradients, jax.tree.map(_array, self.GRADIENTS, is_leaf=_is_list))


def _is_list(leaf):
    return isinstance(leaf, list)
