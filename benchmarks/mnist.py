"""Images per second of the main job's training step, against what it could be compared with.

python -m benchmarks.mnist

All in one run, in turn, medians over rounds:
  this   the default training program: many steps a dispatch, the data on the device
  (a)    the same model and optimiser in a plain loop: one `jax.jit` call a step, batches from NumPy
  (b)    the loop of the usual torch tutorial: DataLoader, nn.Linear, Adam; where torch is installed
  (c)    the five matrix products of a step alone: two forward, three for the gradients
"""

from collections.abc import Callable
import importlib.util
import statistics
import time
from typing import Any

from absl import app, flags, logging
import jax
import jax.numpy as jnp
import numpy as np
import optax

from configs import sparse_mnist
from experiments import build
from sae_jax.train import feed, loop

_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds; the median of each is reported.")
_STEPS = flags.DEFINE_integer("steps", 60, "Steps a round.")


def ours(task: loop.Task) -> Callable[[int], None]:
    """Returns what trains so many steps by the project's own program."""
    like = loop.template(task)
    source = feed.make(task.data, task.mesh, task.plan.batch_size, 0)
    run = loop.program(task, source, like)
    state = [loop.initialise(task, like)]

    def train(steps: int) -> None:
        first = int(state[0].step)
        payload = source.payload(first, first + steps)
        state[0], metrics = run(state[0], payload, first, first + steps)
        jax.block_until_ready(metrics)

    return train


def plain_jit(task: loop.Task) -> Callable[[int], None]:
    """Returns what trains the same model by one jitted call a step, nothing clever in it."""
    rate = task.method.learning_rate
    tx = optax.adam(rate)
    state = loop.initialise(task, loop.template(task))
    carry: list[Any] = [state.params, tx.init(state.params)]
    images = task.data.x.astype(np.float32) / 255
    shuffled = np.random.default_rng(0)

    def loss(params: Any, x: jax.Array) -> jax.Array:
        pre = (x - params["b_dec"][None]) @ params["w_enc"] + params["b_enc"][None]
        codes = jax.nn.relu(pre)
        x_hat = codes @ params["w_dec"] + params["b_dec"][None]
        return ((x - x_hat) ** 2).sum(-1).mean() + 0.36 * codes.sum(-1).mean()

    @jax.jit
    def step(params: Any, opt_state: Any, x: jax.Array) -> Any:
        value, grads = jax.value_and_grad(loss)(params, x)
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        rows = params["w_dec"]
        unit = rows / jnp.linalg.norm(rows, axis=-1, keepdims=True)
        return {**params, "w_dec": unit}, opt_state, value

    def train(steps: int) -> None:
        for _ in range(steps):
            x = images[shuffled.integers(0, len(images), task.plan.batch_size)]
            carry[0], carry[1], value = step(carry[0], carry[1], x)
            float(value)  # The usual loop looks at its loss.

    return train


def five_products(task: loop.Task) -> Callable[[int], None]:
    """Returns what does the five matrix products of so many steps, each on fresh operands."""
    batch, d_in = task.plan.batch_size, task.data.spec.d_in
    d_sae = loop.template(task).idle.size
    keys = jax.random.split(jax.random.key(0), 4)
    x, codes = jax.random.normal(keys[0], (batch, d_in)), jax.random.normal(keys[1], (batch, d_sae))
    w_enc, w_dec = (
        jax.random.normal(key, shape)
        for key, shape in ((keys[2], (d_in, d_sae)), (keys[3], (d_sae, d_in)))
    )

    # Five programs of one product each: inside one program the compiler could fuse or share.
    product = jax.jit(lambda a, b: a @ b)
    left_t = jax.jit(lambda a, b: a.T @ b)
    right_t = jax.jit(lambda a, b: a @ b.T)

    def work(steps: int) -> None:
        for _ in range(steps):
            out = (
                product(x, w_enc),
                product(codes, w_dec),
                right_t(x, w_dec),
                left_t(codes, x),
                left_t(x, codes),
            )
        jax.block_until_ready(out)

    return work


def torch_loop(task: loop.Task) -> Callable[[int], None]:
    """Returns the loop of the usual torch tutorial: a DataLoader, two nn.Linear, Adam."""
    import torch
    from torch import nn

    images = torch.from_numpy(task.data.x.astype(np.float32) / 255)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images), batch_size=task.plan.batch_size, shuffle=True
    )
    d_in, d_sae = task.data.spec.d_in, loop.template(task).idle.size
    encoder, decoder = nn.Linear(d_in, d_sae), nn.Linear(d_sae, d_in)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    batches = iter(loader)

    def train(steps: int) -> None:
        nonlocal batches
        for _ in range(steps):
            x = next(batches, None)
            if x is None:
                batches = iter(loader)
                x = next(batches)
            codes = torch.relu(encoder(x[0]))
            error = ((decoder(codes) - x[0]) ** 2).sum(-1).mean()
            loss = error + 0.36 * codes.sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return train


def main(argv: list[str]) -> None:
    """Measures in turn, and prints medians and ratios."""
    del argv
    logging.set_verbosity(logging.WARNING)
    task = build.task(sparse_mnist.get_config())
    work = {
        "this": ours(task),
        "(a) plain jit loop": plain_jit(task),
        "(c) five products": five_products(task),
    }
    if importlib.util.find_spec("torch"):
        work["(b) torch tutorial"] = torch_loop(task)
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(_ROUNDS.value + 1):
        for name, run in work.items():
            start = time.perf_counter()
            run(_STEPS.value)
            if turn:  # The first round compiles.
                seconds[name].append(time.perf_counter() - start)
    images = _STEPS.value * task.plan.batch_size
    print(
        f"{jax.devices()[0].platform}, jax {jax.__version__}, batch {task.plan.batch_size}, ",
        end="",
    )
    print(f"median of {_ROUNDS.value} rounds of {_STEPS.value} steps")
    for name, times in seconds.items():
        ratios = sorted(other / own for own, other in zip(seconds["this"], times, strict=True))
        print(
            f"{name:<20}{images / statistics.median(times):>10,.0f} images/s"
            f"   this / it = {statistics.median(ratios):.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    app.run(main)
