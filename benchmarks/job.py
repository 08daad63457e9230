"""The job that is measured: the method of `configs/llm_topk.py`, in any size, on random numbers."""

import ast
import dataclasses
import math
from pathlib import Path
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from benchmarks import protocol
from configs import llm_topk
from experiments import build
from sae_jax.ops import sparse
from sae_jax.train import feed, loop, step

_CONFIGS = {  # From a variant to that of the config that it is made of.
    **{"topk": "", "group_max": "", "batch_topk": "batch_topk"},
    **{"relu": "relu", "jumprelu": "jumprelu"},
}
_PROBED = np.arange(64, dtype=np.int32)  # Examples of which active latents are counted.
_SILENT = -10.0  # A bias with which a latent is never among the active ones.


def config(job: protocol.Job, folder: str) -> ml_collections.ConfigDict:
    """Returns the config of a job whose examples are FOLDER/train.npy."""
    if job.variant not in _CONFIGS:
        raise ValueError(f'no variant "{job.variant}": there are {", ".join(_CONFIGS)}')
    found = llm_topk.get_config(_CONFIGS[job.variant])
    found.batch_size = job.batch
    found.data = dict(name="folder", split="train", folder=folder)
    found.calibration = dict(name="none")
    found.evals = {}
    found.checkpoint_every = 0
    found.model.d_sae = job.d_sae
    if job.variant == "group_max":
        found.model.activation = dict(name="group_max", k=job.k)
    if "k" in found.model.activation:
        found.model.activation.k = type(found.model.activation.k)(job.k)
    if "l0_target" in found.loss:
        found.loss.l0_target.target = float(job.k)
    for setting in job.settings:
        _set(found, setting)
    return found


def write_examples(job: protocol.Job, folder: str) -> None:
    """Writes FOLDER/train.npy: normal numbers, two batches of them and at least 16,384 examples."""
    shape = (max(2 * job.batch, 2**14), job.d_in)
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    np.save(Path(folder) / "train.npy", x)


class Training:
    """The compiled loop of a job, and its state.

    Attributes:
      task: what is trained.
    """

    def __init__(self, job: protocol.Job) -> None:
        """Makes data and state; compiles at the first call."""
        with tempfile.TemporaryDirectory() as folder:
            write_examples(job, folder)
            self.task = build.task(config(job, folder))
            plan = self.task.plan
            arguments = (self.task.data, self.task.mesh, plan.batch_size, plan.seed, plan.log_every)
            self._source = feed.make(*arguments)
            assert isinstance(self._source, feed.Resident)
            like = loop.template(self.task)
            state = loop.initialise(self.task, like)
        state = _with_dead(state, job.dead_latents, self.task.method.dead_after)
        self._state = _with_active(state, job.active, self.task)
        self._program = loop.program(self.task, self._source, like)

    def run(self, steps: int) -> dict[str, float]:
        """Trains so many steps, as training does between two rows; returns metrics of the last."""
        first = int(self._state.step)
        payload = self._source.payload(first, first + steps, first + steps)
        self._state, metrics = self._program(self._state, payload, first, first + steps)
        found = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not math.isfinite(found["loss"]):
            raise FloatingPointError(f"the loss is not finite after {first + steps} steps")
        return found


def _with_dead(state: step.State, count: int, dead_after: int) -> step.State:
    """Returns the state with the first `count` latents dead, and silent for good."""
    if not count:
        return state
    params: dict[str, Any] = dict(state.params)
    params["b_enc"] = params["b_enc"].at[:count].set(_SILENT)
    idle = state.idle.at[:count].set(jnp.int32(dead_after))
    found = dataclasses.replace(state, params=params, idle=idle)
    # Where they lay: or the second dispatch, whose state the first made, would compile again.
    return jax.device_put(found, jax.tree.map(lambda leaf: leaf.sharding, state))


def _with_active(state: step.State, count: int, task: loop.Task) -> step.State:
    """Returns the state with biases that leave `count` latents of an example active."""
    if not count:
        return state
    raw = jax.tree.map(jnp.asarray, task.data.rows(_PROBED))
    pre = step.reconstruct(task.method, state, task.data.decode(raw)).pre
    edge = jnp.quantile(sparse.all_of(pre), 1 - count / pre.shape[1])
    params: dict[str, Any] = dict(state.params)
    params["b_enc"] = jax.device_put(params["b_enc"] - edge, params["b_enc"].sharding)
    return dataclasses.replace(state, params=params)


def _set(found: ml_collections.ConfigDict, setting: str) -> None:
    """Sets "key.of.a.group=value"; what is no such key the task refuses."""
    key, _, text = setting.removeprefix("config.").partition("=")
    *groups, name = key.split(".")
    for group in groups:
        found = found[group]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    with found.unlocked(), found.ignore_type():
        found[name] = value
