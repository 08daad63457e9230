"""Packages that only language models need, imported when they are asked for."""

import importlib
from typing import Any

from sae_jax import errors


def library(name: str, extra: str = "llm") -> Any:
    """Returns a package.

    Args:
      name: as an import has it.
      extra: of this project, which installs it.

    Raises:
      UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise errors.UserError(
            f"{name} is not installed: pip install 'sae_jax[{extra}]' ({error})"
        ) from error
