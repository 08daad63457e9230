"""Images per second of the main job's training step, against what it could be compared with.

python -m benchmarks.mnist

All in one run, in turn, medians over rounds:
  this   the default training program: many steps a dispatch, the data on the device
  (a)    the same model and optimiser in a plain loop: one `jax.jit` call a step, batches from NumPy
  (b)    the loop of the usual torch tutorial, where torch is installed: torchvision's MNIST through
         a DataLoader, two nn.Linear, Adam
  (b')   the same, but the images lie ready as float32
  (c)    the five matrix products of a step alone, in one program: two forward, three for gradients
"""

from collections.abc import Callable
import functools
import importlib.util
import statistics
from typing import Any

from absl import app, flags, logging
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import products, records, timing
from configs import sparse_mnist
from experiments import build
from sae_jax.train import feed, loop

_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds; the median of each is reported.")
_STEPS = flags.DEFINE_integer("steps", 60, "Steps a round.")


def ours(task: loop.Task) -> Callable[[int], None]:
    """Returns what trains so many steps by the project's own program."""
    like = loop.template(task)
    source = feed.make(task.data, task.mesh, task.plan.batch_size, 0, _STEPS.value)
    run = loop.program(task, source, like)
    state = [loop.initialise(task, like)]

    def train(steps: int) -> None:
        first = int(state[0].step)
        payload = source.payload(first, first + steps, first + steps)
        state[0], metrics = run(state[0], payload, first, first + steps)
        jax.block_until_ready(metrics)

    return train


def plain_jit(task: loop.Task) -> Callable[[int], None]:
    """Returns what trains the same model by one jitted call a step, nothing clever in it."""
    rate = task.method.learning_rate
    tx = optax.adam(rate)
    state = loop.initialise(task, loop.template(task))
    carry: list[Any] = [state.params, tx.init(state.params)]
    images = task.data.source["x"].astype(np.float32) / 255
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


def torch_loop(task: loop.Task, per_image: bool) -> Callable[[int], None]:
    """Returns the loop of the usual torch tutorial: a DataLoader, two nn.Linear, Adam.

    Args:
      task: sizes and data.
      per_image: whether each image goes from uint8 through PIL and `ToTensor` into its batch, as
        `torchvision.datasets.MNIST(transform=ToTensor())` does it, whose lines these are; or else
        lies ready as float32 in a TensorDataset.
    """
    from PIL import Image
    import torch
    from torch import nn

    class Digits(torch.utils.data.Dataset):
        def __init__(self) -> None:
            self.images = torch.from_numpy(task.data.source["x"].reshape(-1, 28, 28).copy())

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, index: int) -> tuple[Any, ...]:
            picture = Image.fromarray(self.images[index].numpy())
            tensor = torch.from_numpy(np.array(picture, np.uint8, copy=True)).view(28, 28, 1)
            return (tensor.permute(2, 0, 1).contiguous().to(torch.float32).div(255),)

    floats = torch.from_numpy(task.data.source["x"].astype(np.float32) / 255)
    data = Digits() if per_image else torch.utils.data.TensorDataset(floats)
    loader = torch.utils.data.DataLoader(data, batch_size=task.plan.batch_size, shuffle=True)
    d_in, d_sae = task.data.spec.d_in, loop.template(task).idle.size
    encoder, decoder = nn.Linear(d_in, d_sae), nn.Linear(d_sae, d_in)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    batches = iter(loader)

    def train(steps: int) -> None:
        nonlocal batches
        for _ in range(steps):
            found = next(batches, None)
            if found is None:
                batches = iter(loader)
                found = next(batches)
            x = found[0].flatten(1)
            codes = torch.relu(encoder(x))
            loss = ((decoder(codes) - x) ** 2).sum(-1).mean() + 0.36 * codes.sum(-1).mean()
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
    d_sae = loop.template(task).idle.size
    work = {
        "this": ours(task),
        "(a) plain jit loop": plain_jit(task),
        "(c) five products": products.five(task.plan.batch_size, task.data.spec.d_in, d_sae),
    }
    if importlib.util.find_spec("torch"):
        work["(b) torch tutorial"] = torch_loop(task, per_image=True)
        work["(b') torch, ready"] = torch_loop(task, per_image=False)
    seconds = timing.interleaved(
        {name: timing.clocked(functools.partial(run, _STEPS.value)) for name, run in work.items()},
        _ROUNDS.value,
    )
    images = _STEPS.value * task.plan.batch_size
    device = jax.devices()[0]
    print(
        f"{device.platform}, jax {jax.__version__}, batch {task.plan.batch_size}, "
        f"median of {_ROUNDS.value} rounds of {_STEPS.value} steps"
    )
    rates, found = {}, {}
    for name, times in seconds.items():
        rates[name] = images / statistics.median(times)
        found[name], least, most = timing.ratios(times, seconds["this"])
        print(
            f"{name:<20}{rates[name]:>10,.0f} images/s"
            f"   this / it = {found[name]:.2f}  ({least:.2f} to {most:.2f})"
        )
    del found["this"]
    records.save(
        records.make(
            "benchmarks.mnist",
            {f"this / {name}": ratio for name, ratio in found.items()},
            {f"{name}, images/s": round(rate) for name, rate in rates.items()},
            {"jax": jax.__version__},
            timing.device(device),
        )
    )


if __name__ == "__main__":
    app.run(main)
