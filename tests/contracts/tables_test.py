"""Every table, found by name: what it states fits together, and what it trains are configs."""

import inspect
import json

import pytest

from experiments import build, figure, tables

NAMES = tables.names()
CASES = [(name, row) for name in NAMES for row in tables.find(name).ROWS]

every_table = pytest.mark.parametrize("name", NAMES)


def test_every_table_is_in_one_group_and_no_group_is_a_table():
    classics, papers = map(figure.tables_of, ("classics", "papers"))
    assert sorted(classics + papers) == NAMES
    assert "deep" in classics
    assert "sparse_but_wrong" in papers
    assert not set(figure.GROUPS) & set(NAMES)
    assert figure.tables_of("deep") == ["deep"]


@every_table
def test_a_table_states_what_it_is(name):
    module = tables.find(name)
    assert inspect.getdoc(module)
    assert module.TITLE
    assert list(inspect.signature(module.measure).parameters) == ["row", "seed", "run"]
    assert list(inspect.signature(module.draw).parameters) == ["lines", "figure"]
    labels = [row.label for row in module.ROWS]
    assert len({tables._slug(label) for label in labels}) == len(labels)
    assert any(not row.config for row in module.ROWS), "no row without training to compare with"


@pytest.mark.parametrize(("name", "row"), CASES, ids=[f"{n}-{r.label}" for n, r in CASES])
def test_a_row_is_a_config_or_a_baseline(name, row):
    columns = tables.find(name).COLUMNS
    assert set(row.published) <= set(columns)
    assert bool(row.published) <= bool(row.source), "published by whom?"
    assert row.seeds
    if row.config:
        config = tables._config(row, row.seeds[0])
        assert config.seed == row.seeds[0]
        assert json.loads(json.dumps(build.plain(config)))
        assert len(row.seeds) >= 3, "a trained row has three seeds or more"
