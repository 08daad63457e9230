import pytest

from sae_jax import errors
from sae_jax.lm import extras


def test_a_package_that_is_not_there_is_named_with_what_installs_it():
    assert extras.library("json").loads("1") == 1
    with pytest.raises(errors.UserError, match=r"nonesuch is not installed: .*'sae_jax\[hf\]'"):
        extras.library("nonesuch", "hf")
