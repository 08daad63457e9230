import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax.optim import schedules

MAKERS = {
    name: value
    for name, value in vars(schedules).items()
    if inspect.isfunction(value) and value.__module__ == schedules.__name__ and name[0] != "_"
}

# (name, its arguments, the length of the run, {step: value}).
CASES = [
    ("constant", dict(value=0.3), 100, {0: 0.3, 50: 0.3, 100: 0.3, 1000: 0.3}),
    ("warmup", dict(value=2.0, warmup=4), 100, {0: 0.5, 1: 1.0, 3: 2.0, 4: 2.0, 100: 2.0}),
    ("warmup", dict(value=2.0, warmup=0), 100, {0: 2.0, 1: 2.0}),
    ("linear", dict(start=1.0, end=3.0), 10, {0: 1.0, 5: 2.0, 9: 2.8, 10: 3.0, 20: 3.0}),
    ("linear", dict(start=1.0, end=0.0, begin=2, over=4), 10, {0: 1.0, 2: 1.0, 3: 0.75, 6: 0.0}),
    ("linear", dict(start=1.0, end=5.0, begin=3, over=0), 10, {2: 1.0, 3: 5.0, 9: 5.0}),
    (
        "cosine",
        dict(value=2.0, warmup=2, end=1.0),
        10,
        {0: 1.0, 1: 2.0, 2: 2.0, 6: 1.5, 4: 1.5 + 0.5 * 0.5**0.5, 10: 1.0, 50: 1.0},
    ),
    ("cosine", dict(value=2.0), 8, {0: 2.0, 4: 1.0, 8: 0.0, 9: 0.0}),
    (
        "trapezoid",
        dict(value=4.0, warmup=2, decay=4, end=2.0),
        10,
        {0: 2.0, 1: 4.0, 5: 4.0, 6: 4.0, 7: 3.5, 9: 2.5, 10: 2.0, 99: 2.0},
    ),
    ("trapezoid", dict(value=1.0), 10, {0: 1.0, 8: 1.0, 9: 0.5, 10: 0.0}),
    ("trapezoid", dict(value=1.0, decay=0), 10, {0: 1.0, 9: 1.0}),
    (
        "step",
        dict(value=8.0, factor=0.5, at=(3, 6)),
        10,
        {0: 8.0, 2: 8.0, 3: 4.0, 5: 4.0, 6: 2.0, 10: 2.0, 99: 2.0},
    ),
    ("step", dict(value=8.0, factor=0.5, at=()), 10, {0: 8.0, 10: 8.0}),
    ("exponential", dict(start=1.0, end=16.0), 4, {0: 1.0, 1: 2.0, 2: 4.0, 4: 16.0, 9: 16.0}),
]


def _at(schedule, step):
    return float(schedule(jnp.asarray(step, jnp.int32)))


def test_every_schedule_is_tested():
    assert {name for name, *_ in CASES} == set(MAKERS)


@pytest.mark.parametrize(("name", "kwargs", "num_steps", "expected"), CASES)
def test_values_at_steps(name, kwargs, num_steps, expected):
    schedule = MAKERS[name](num_steps, **kwargs)
    found = {step: _at(schedule, step) for step in expected}
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("name", "kwargs", "num_steps", "expected"), CASES)
def test_every_value_is_a_finite_float_under_jit(name, kwargs, num_steps, expected):
    del expected
    schedule = MAKERS[name](num_steps, **kwargs)
    steps = jnp.arange(num_steps + 1, dtype=jnp.int32)
    values = jax.jit(lambda steps: jax.lax.map(schedule, steps))(steps)
    assert values.dtype == jnp.float32
    assert values.shape == steps.shape
    assert np.isfinite(values).all()
    np.testing.assert_allclose(values[0], _at(schedule, 0), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "share", "steps"),
    [
        ("warmup", dict(value=1.0, warmup=0.1), dict(value=1.0, warmup=20)),
        ("warmup", dict(value=1.0, warmup=0.5), dict(value=1.0, warmup=100.0)),
        (
            "linear",
            dict(start=1.0, end=2.0, begin=0.25, over=0.5),
            dict(start=1.0, end=2.0, begin=50, over=100),
        ),
        ("cosine", dict(value=1.0, warmup=0.05), dict(value=1.0, warmup=10)),
        (
            "trapezoid",
            dict(value=1.0, warmup=0.05, decay=0.6),
            dict(value=1.0, warmup=10, decay=120),
        ),
        (
            "step",
            dict(value=1.0, factor=0.1, at=(0.5, 0.9)),
            dict(value=1.0, factor=0.1, at=(100, 180)),
        ),
    ],
)
def test_a_float_is_a_share_of_the_run(name, share, steps):
    by_share, by_steps = MAKERS[name](200, **share), MAKERS[name](200, **steps)
    for step in (0, 5, 9, 10, 19, 20, 50, 75, 100, 150, 180, 199, 200):
        assert _at(by_share, step) == _at(by_steps, step)


def test_an_int_is_a_number_of_steps_even_if_it_is_1():
    # A config's floats stay floats: 1.0 is one step as 1 is.
    assert _at(schedules.linear(10, start=0.0, end=1.0, over=1), 1) == 1.0
    assert _at(schedules.linear(10, start=0.0, end=1.0, over=1.0), 1) == 1.0
    assert _at(schedules.linear(10, start=0.0, end=1.0), 1) == pytest.approx(0.1)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_cannot_be_is_refused(share):
    for make in (
        lambda: schedules.warmup(10, value=1.0, warmup=share),
        lambda: schedules.linear(10, start=1.0, end=0.0, begin=share),
        lambda: schedules.trapezoid(10, value=1.0, decay=share),
        lambda: schedules.step(10, value=1.0, factor=0.1, at=(share,)),
    ):
        with pytest.raises(ValueError, match="is no duration"):
            make()


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)])
def test_exponential_refuses_what_is_not_positive(start, end):
    with pytest.raises(ValueError, match="must be positive"):
        schedules.exponential(10, start=start, end=end)
