"""Writes activations to disk, to train from.

python -m experiments.dump --config=configs/dumps/glassllm.py

It can be stopped at any moment and started again: it goes on with what is missing, and leaves the
same bytes. Several processes share the work, each with its --process of --processes. --dry_run says
what would be written; --verify reads a finished store and names the shards that are damaged.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from experiments import cli, stores
from sae_jax import errors
from sae_jax.store import reader

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to write: a file of configs/dumps.")
_STORE = flags.DEFINE_string("store", None, "The folder, if not that of the config.")
_PROCESS = flags.DEFINE_integer("process", 0, "Which of the processes that write this is.", 0)
_PROCESSES = flags.DEFINE_integer("processes", 1, "How many processes write.", 1)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Say what would be written, and write nothing.")
_VERIFY = flags.DEFINE_bool("verify", False, "Read a finished store and look for damage.")


def main() -> int:
    """Writes and says what there is; returns the exit status."""
    name = cli.config_name("configs/dumps", "what should be written?")
    config = _CONFIG.value
    if "store" not in config or not {"lm", "files"} & set(config):
        raise errors.UserError(f"--config={name} is no dump: name a file of configs/dumps")
    folder = Path(_STORE.value or config.store).expanduser()
    if _VERIFY.value:
        return _verify(folder)
    if _PROCESS.value >= _PROCESSES.value:
        raise errors.UserError(f"--process={_PROCESS.value}: from 0 to {_PROCESSES.value - 1}")
    cli.use_compilation_cache()
    stores.write(config, folder, _PROCESS.value, _PROCESSES.value, _DRY_RUN.value)
    return 0


def _verify(folder: Path) -> int:
    store = reader.Store(folder, damaged="skip", checksums=False)
    damaged = [*store.skipped, *store.verify()]
    for path in damaged:
        print(f"{path} is damaged: delete it and run the same dump again")
    if not damaged:
        print(f"{folder}: all {len(store.plan.shards)} shards are as they were written")
    return 1 if damaged else 0


if __name__ == "__main__":
    cli.run(main)
