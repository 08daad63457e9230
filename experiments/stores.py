"""Stores of activations: written by their recipe, and described."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils
import ml_collections
import tqdm

from experiments import build
from sae_jax import errors, files
from sae_jax.analysis import dump
from sae_jax.data import activations, base, corpus
from sae_jax.store import arrays, plan as plans, reader, sequences, writer

RECIPE = "recipe.json"
_LEAST = dict(batch_size=1, shard_bytes=1, documents=0, held_out=0, outlier=0, seed=0)


def write_missing(config: ml_collections.ConfigDict) -> None:
    """Writes the store that a run trains on, if it is not finished and the config has its recipe.

    Of several stores only that is written which the recipe itself names. Every process of a run
    calls it and writes its part.

    Raises:
      UserError: a store is missing, and the recipe is another's or has none of the run's sites.
    """
    data = config.data.to_dict()
    if data["name"] != "activations" or not data.get("recipe"):
        return
    folders = activations.folders(data["store"])
    missing = [folder for folder in folders if not (folder / plans.MANIFEST).is_file()]
    if missing:
        recipe = build.recipe(data["recipe"])
        _refuse_foreign(data, missing if len(folders) > 1 else [], recipe)
        for folder in missing:
            write(recipe, folder, jax.process_index(), jax.process_count())
    _refuse_other_models(data["recipe"], [each for each in folders if each not in missing])
    multihost_utils.sync_global_devices("store")


def _refuse_foreign(
    data: dict[str, Any], missing: Sequence[Path], recipe: ml_collections.ConfigDict
) -> None:
    """Raises if the recipe does not write what is missing: other folders, or sites."""
    own = Path(recipe.store).expanduser()
    for folder in missing:
        if folder != own:
            raise errors.UserError(
                f"{folder} is not there or not finished, and {data['recipe']} writes {own}: write "
                f"it first, by python -m experiments.dump --config=ITS_RECIPE --store={folder}"
            )
    sites = base.named(data.get("site", "")) + base.named(data.get("target"))
    if not sites and len(recipe.sites) > 1:
        raise errors.UserError(
            f"config.data.site is not set, and {data['recipe']} writes {', '.join(recipe.sites)}: "
            "name one of these"
        )
    for site in sites:
        if site not in recipe.sites:
            raise errors.UserError(
                f'there is no store to read site "{site}" from, and {data["recipe"]} writes '
                f"{', '.join(recipe.sites)}: name one of these, or the folder of another store "
                "with --config.data.store"
            )


def write(
    config: ml_collections.ConfigDict,
    folder: Path,
    process: int = 0,
    processes: int = 1,
    dry_run: bool = False,
) -> None:
    """Writes what is missing of a store, and says what is there."""
    for name, least in _LEAST.items():
        if name in config and config[name] < least:
            raise errors.UserError(f"config.{name}={config[name]}: it must be {least} or more")
    source = _of_arrays(config) if "files" in config else _of_text(config)
    print(announced(folder, source), flush=True)
    if dry_run:
        return
    store = writer.Writer(folder, source.plan, source.tokens)
    if process == 0 and "lm" in config:
        _keep_recipe(config, folder)
    left = sum(source.plan.shards[number] for number in store.missing(process, processes))
    with tqdm.tqdm(total=left, unit="row", unit_scale=True, disable=not left) as bar:
        whole = source.write(store, process, processes, bar.update)
    if not whole:
        print(f"{folder}: {len(store.missing())} shards are left to the other processes")
        return
    print(summary(reader.Store(folder, checksums=False)))


def _refuse_other_models(recipe: str, folders: Sequence[Path]) -> None:
    """Raises if a store was written by another language model than that of the recipe.

    Otherwise it would be said only when the run ends and the model is to be spliced.
    """
    for path in (folder / RECIPE for folder in folders):
        if path.is_file() and not _is_of(path, recipe):
            raise errors.UserError(
                f"{path.parent} was written by another language model than that of {recipe}: set "
                f"--config.data.recipe={path}"
            )


def _is_of(own: Path, recipe: str) -> bool:
    """Returns whether the model of a recipe wrote the store of `own`, whatever its path here."""
    wrote, named = (build.plain(build.recipe(path)).get("lm") for path in (str(own), recipe))
    if wrote is None or named is None or wrote == named:
        return wrote == named
    if wrote["name"] != named["name"]:  # Known without loading it.
        return False
    weights = _weights(json.dumps(named, sort_keys=True))
    return plans.load(own.parent).source.get("weights") == weights


@functools.lru_cache(maxsize=1)
def _weights(group: str) -> str:
    """Returns what tells the weights of a language model from others; `group` is its JSON."""
    return build.language_model(json.loads(group)).fingerprint()


def _keep_recipe(config: ml_collections.ConfigDict, folder: Path) -> None:
    """Leaves in a store what it is written by, flags and all, for runs to name."""
    values = {**build.plain(config), "store": str(folder)}
    try:
        files.replace(folder / RECIPE, json.dumps(values, indent=1) + "\n")
    except OSError as error:
        raise errors.UserError(f"cannot write to {folder} ({error.strerror})") from error


@dataclasses.dataclass(frozen=True)
class _Source:
    """What a store is written of.

    Attributes:
      name: in a message.
      plan: of the store.
      tokens: that rows are of, if they are of tokens.
      write: `(store, process, processes, progress) -> whether it is finished`.
    """

    name: str
    plan: plans.Plan
    tokens: sequences.Sequences | None
    write: Callable[..., bool]


def _of_text(config: ml_collections.ConfigDict) -> _Source:
    values = build.plain(config)
    model, texts = build.language_model(values["lm"]), build.texts(values["text"])
    knobs = {name: value for name, value in values.items() if name not in ("lm", "text", "store")}
    batch_size = knobs.pop("batch_size")
    of_plan = {name: knobs.pop(name) for name in ("sites", "dtype", "shard_bytes", "outlier")}
    most = knobs.pop("documents")
    tokens = corpus.cut(model, texts.documents, most=most, **knobs)
    plan = dump.plan(model, texts, tokens, **of_plan)

    def write(store: writer.Writer, *rest: Any) -> bool:
        return dump.write(model, tokens, store, batch_size, *rest)

    return _Source(f"{model.name} reads {texts.name}", plan, tokens.sequences, write)


def _of_arrays(config: ml_collections.ConfigDict) -> _Source:
    files, sites = config.files, config.sites
    if not all(files) or len(files) != len(sites):
        raise errors.UserError(
            "--config.files has a pattern for each of --config.sites, as in "
            """--config.files='("acts/*.npy",)' --config.sites='("resid_post.6",)'"""
        )
    found = [arrays.find(file, site) for file, site in zip(files, sites, strict=True)]
    knobs = ("dtype", "held_out", "shard_bytes", "outlier")
    plan = arrays.plan(found, **{name: config[name] for name in knobs})
    return _Source(", ".join(files), plan, None, functools.partial(arrays.write, found))


def announced(folder: Path, source: _Source) -> str:
    """Returns what will be written, where, and what it takes."""
    plan = source.plan
    sites = ", ".join(f"{site} ({width})" for site, width in plan.sites.items())
    splits = ", ".join(f"{split} {sum(rows):,}" for split, rows in plan.splits.items())
    size = sum(plan.shards) * plan.row_bytes
    return (
        f"{source.name}: {sum(plan.shards):,} rows ({splits})\n"
        f"{sites} as {plan.dtype}, {len(plan.shards)} shards, {size / 1e6:,.0f} MB, to {folder}"
    )


def summary(store: reader.Store) -> str:
    """Returns what was counted in a finished store, in a few lines."""
    manifest = store.manifest
    lines = [
        f"{store.folder}: {manifest['rows']:,} rows, of which {manifest['special']:,} are of "
        f"special tokens and {manifest['excluded'] - manifest['special']:,} outliers: left out"
    ]
    for site, about in manifest["sites"].items():
        lines.append(
            f"  {site}: norm {about['mean_norm']:.4g} in the mean, {about['median_norm']:.4g} in "
            f"the median; {about['outliers']:,} rows above {store.plan.outlier:g} times that"
        )
    return "\n".join(lines)
