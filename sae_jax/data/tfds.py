"""Any data set that TensorFlow Datasets has prepared on disk and that fits into memory.

Only reads, without TensorFlow; never downloads, for without a network TFDS retries for minutes.
"""

import os
import pathlib
from typing import Any

import numpy as np

from sae_jax import errors
from sae_jax.data import base

_LIMIT_BYTES = 16 * 2**30
_READ_AT_ONCE = 1024
_PACKAGES = "pip install tensorflow-datasets array_record importlib_resources pillow"


def load(
    split: str, dataset: str, feature: str = "image", folder: str = "", scale: float = 255.0
) -> base.Arrays:
    """Returns the feature `feature` of a prepared data set, and "label" if it has one.

    The order is that of the files, which TFDS has shuffled.

    Args:
      split: such as "train[:55000]".
      dataset: as TFDS writes it: "mnist", "name/config" or "name/config:1.0.0".
      feature: an image or a tensor of fixed shape.
      folder: where TFDS keeps its data; empty: $TFDS_DATA_DIR or ~/tensorflow_datasets.
      scale: what integers are divided by.
    """
    part, rows = base.parse_split(split)
    x, label = read(open_prepared(dataset, folder), part, feature, rows)
    if len(x) == 0:
        raise errors.DataError(f'split "{split}" of {dataset} is empty')
    shape = x.shape[1:]
    grid = shape if len(shape) == 3 and shape[2] in (1, 3, 4) else None
    spec = base.Spec(dataset, split, (int(np.prod(shape)),), grid)
    return base.Arrays(spec, x.reshape(len(x), -1), label, scale)


def root(folder: str) -> pathlib.Path:
    """Returns where TFDS keeps prepared data."""
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return pathlib.Path(folder or default).expanduser()


def open_prepared(dataset: str, folder: str) -> Any:
    """Returns the TFDS builder of a data set that lies prepared in `folder`.

    A version, if `dataset` names none, is the newest. The folder is looked for before TFDS is
    imported, which takes seconds.
    """
    where = root(folder)
    found = sorted((where / dataset.replace(":", "/")).rglob("dataset_info.json"), key=_by_version)
    if not found:
        prepared = {path.relative_to(where).parts[0] for path in where.rglob("dataset_info.json")}
        raise errors.DataError(
            f"{dataset} is not prepared in {where} (there: {_listed(prepared)}): on a machine with "
            f"internet run tfds.builder('{dataset}', data_dir=FOLDER, file_format='array_record')"
            ".download_and_prepare() and set --config.data.folder=FOLDER"
        )
    configs = {path.parent.parent for path in found}
    if len(configs) > 1:
        names = {f"{dataset}/{config.name}" for config in configs}
        raise errors.DataError(
            f"{dataset} is prepared in several configs: name one, {_listed(names)}"
        )
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise errors.DataError(f"{dataset} needs {_PACKAGES} ({error})") from error
    return tensorflow_datasets.builder_from_directory(str(found[-1].parent))


def read(
    builder: Any, part: str, feature: str, rows: slice = slice(None)
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the examples `[n, *shape]` and, if there are any, the int32 labels `[n]`.

    Args:
      builder: from `open_prepared`.
      part: name of a whole split.
      feature: which to read.
      rows: which examples, as `base.parse_split` gives them.
    """
    name, features = builder.info.name, builder.info.features
    if part not in builder.info.splits:
        raise errors.DataError(
            f'{name} has no split "{part}": it has {_listed(builder.info.splits)}'
        )
    if feature not in features:
        raise errors.DataError(f'{name} has no feature "{feature}": it has {_listed(features)}')
    shape, dtype = features[feature].shape, features[feature].np_dtype
    if shape is None or None in shape or not np.issubdtype(dtype, np.number):
        raise errors.DataError(
            f'feature "{feature}" of {name} has shape {shape} and type {np.dtype(dtype).name}: '
            "only numbers of a fixed shape can be read"
        )
    index = base.cut(np.arange(builder.info.splits[part].num_examples), rows)
    size = len(index) * int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size > _LIMIT_BYTES:
        raise errors.DataError(
            f"{name} takes {size / 2**30:.0f} GiB, too much for memory: take a part of it, such as "
            f'"{part}[:10%]", or write it as {part}.npy and use the data set "folder"'
        )
    try:
        source = builder.as_data_source(part)
    except ImportError as error:
        raise errors.DataError(f"{name} needs {_PACKAGES} ({error})") from error
    except NotImplementedError as error:
        raise errors.DataError(
            f"{name} is prepared in a format that only TensorFlow reads: prepare it again with "
            "file_format='array_record'"
        ) from error
    x = np.empty((len(index), *shape), dtype)
    label = np.empty(len(index), np.int32) if "label" in features else None
    for start in range(0, len(index), _READ_AT_ONCE):
        examples = source.__getitems__(index[start : start + _READ_AT_ONCE].tolist())
        place = slice(start, start + len(examples))
        x[place] = [example[feature] for example in examples]
        if label is not None:
            label[place] = [example["label"] for example in examples]
    return x, label


def _by_version(path: pathlib.Path) -> tuple[int, ...]:
    """Returns what to sort the folders of versions by: "10.0.0" comes after "9.0.0"."""
    parts = path.parent.name.split(".")
    return tuple(int(part) if part.isdigit() else -1 for part in parts)


def _listed(names: Any) -> str:
    """Returns names for a message."""
    return ", ".join(sorted(names)) or "nothing"
