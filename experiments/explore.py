"""Writes a page to look into a run's latents: `python -m experiments.explore --workdir=W`.

One HTML file that needs no server and no network: a list to search, sort and filter; for each
latent its highest examples and others drawn by chance, with their tokens coloured by activation, a
histogram, the tokens that its decoder row promotes and suppresses, and the nearest latents.
page.html#latent-17 opens it at a latent.
"""

from pathlib import Path
import sys
from typing import Any

from absl import flags
import numpy as np
import tqdm

from experiments import cli
from experiments.explorer import content, opened, page
from sae_jax import errors, files
from sae_jax.analysis import directions, examples

_WORKDIR = flags.DEFINE_string("workdir", None, "The run.")
_SPLIT = flags.DEFINE_string("split", "test", "Of its store: where examples come from.")
_LATENTS = flags.DEFINE_string("latents", "", "Which to show, as in 0-99,512; all without it.")
_OUT = flags.DEFINE_string("out", None, "The file, if not explore.html in the run's folder.")
_TOP = flags.DEFINE_integer("top", 12, "Highest examples of each latent.", 1, 255)
_EACH = flags.DEFINE_integer("each", 3, "Examples drawn from each fifth of its range.", 1, 255)
_BEFORE = flags.DEFINE_integer("before", 20, "Tokens shown in front of an example.", 0, 120)
_AFTER = flags.DEFINE_integer("after", 10, "Tokens shown behind it.", 0, 120)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 1024, "Rows that are encoded at once.", 1)


def main() -> int:
    """Writes the page; returns the exit status."""
    if _WORKDIR.value is None:
        raise errors.UserError("which run? --workdir=runs/...")
    cli.use_compilation_cache()
    folder = Path(_WORKDIR.value)
    out = Path(_OUT.value or folder / "explore.html")
    if out.is_dir():
        raise errors.UserError(f"--out={out} is a folder: name a file, {out / 'explore.html'}")
    if _OUT.value and not out.parent.is_dir():
        raise errors.UserError(f"--out={out}: there is no folder {out.parent}")
    run = opened.load(folder, _SPLIT.value)
    rows = directions.rows(run.task.method, run.state)
    latents = content.chosen(_LATENTS.value, len(rows))
    settings = examples.Settings(top=_TOP.value, each=_EACH.value)
    n = run.data.length
    encode = run.encoder()
    batches = 2 * -(-n // _BATCH_SIZE.value)
    with tqdm.tqdm(total=batches, desc="reading", unit="batch") as bar:

        def counted(index: np.ndarray) -> Any:
            bar.update()
            return encode(index)

        found = examples.scan(counted, n, settings, _BATCH_SIZE.value)
    windows = _BEFORE.value, _AFTER.value, _BATCH_SIZE.value
    data = {
        **content.described(run, folder, settings, len(rows)),
        **content.columns(run, found, latents, settings, rows, *windows),
    }
    whole = page.page(data["about"]["title"], data).encode()
    try:
        files.replace(out, whole)
    except OSError as error:
        raise errors.UserError(f"cannot write {out} ({error.strerror})") from error
    print(f"{out}: {len(latents):,} latents, {n:,} tokens, {len(whole) / 1e6:.1f} MB")
    if len(whole) > 2e8:
        print("a browser may need a while for it: --latents=0-9999 shows fewer", file=sys.stderr)
    return 0


if __name__ == "__main__":
    cli.run(main)
