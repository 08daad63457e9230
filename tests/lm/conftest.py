"""The tiny model, written once."""

import pytest

from tests.lm import tiny


@pytest.fixture(scope="session")
def tensors():
    """Its tensors under the names of Hugging Face."""
    return tiny.weights()


@pytest.fixture(scope="session")
def model(tmp_path_factory, tensors):
    """The model, loaded from a folder."""
    for package in ("safetensors", "tokenizers"):
        pytest.importorskip(package)
    from sae_jax.lm import folder

    path = tmp_path_factory.mktemp("tiny")
    tiny.write(path, tensors=tensors)
    return folder.load(str(path), name="tiny")
