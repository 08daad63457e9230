import numpy as np
import pytest

from benchmarks import against, job as jobs, products, protocol
from sae_jax import errors

TINY = dict(d_in=16, d_sae=64, k=4, batch=32)


@pytest.mark.parametrize("variant", against.VARIANTS)
def test_every_variant_is_a_config(variant, tmp_path):
    job = protocol.Job(variant=variant, **TINY)
    found = jobs.config(job, str(tmp_path))
    assert (found.model.d_sae, found.batch_size, found.optim.clip_norm) == (64, 32, 1.0)
    assert found.optim.constraint == "unit_norm"
    if "k" in found.model.activation:
        assert found.model.activation.k == 4


def test_settings_are_those_of_a_config(tmp_path):
    settings = ("optim.clip_norm=0.5", "config.loss.auxk=0.25", "optim.constraint=none")
    found = jobs.config(protocol.Job(**TINY, settings=settings), str(tmp_path))
    assert (found.optim.clip_norm, found.loss.auxk) == (0.5, 0.25)
    assert found.optim.constraint == "none"
    with pytest.raises(errors.UserError, match="clip_nrom"):
        jobs.Training(protocol.Job(**TINY, settings=("optim.clip_nrom=0.5",)))


def test_dead_latents_stay_dead_and_help():
    training = jobs.Training(protocol.Job(**TINY, dead=0.25))
    training.run(2)
    metrics = training.run(3)
    assert metrics["dead"] == pytest.approx(0.25)
    assert metrics["loss/auxk"] > 0


def test_five_products_change_the_weights_and_end():
    assert products.encoder(8, 4, 6)(2) is None
    before, _ = products.five(8, 4, 6)(0)
    after, _ = products.five(8, 4, 6)(3)
    assert np.abs(np.asarray(after - before)).max() > 0


@pytest.mark.parametrize("variant", ["relu", "jumprelu"])
def test_biases_leave_as_many_latents_active_as_asked(variant):
    training = jobs.Training(protocol.Job(variant=variant, **TINY, active=5))
    assert training.run(1)["l0"] == pytest.approx(5, abs=2)
