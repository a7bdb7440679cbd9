"""The rules that the simulation guards, switched off one by one. All of them: python -m tests.proof.mutations"""

import re
from pathlib import Path

import pytest

from tests.proof.mutations import MUTATIONS


@pytest.mark.parametrize("mutation", [m for m in MUTATIONS if m.by_simulation], ids=lambda m: m.name)
def test_the_simulation_notices_a_rule_that_is_switched_off(mutation):
    assert mutation.notice()


def test_every_mutation_is_named_once_for_each_that_notices_it():
    pairs = [(mutation.name, mutation.noticed) for mutation in MUTATIONS]
    assert len(set(pairs)) == len(pairs)
    assert len({name for name, _ in pairs}) >= 15


def test_every_test_that_a_mutation_names_is_there():
    """The command runs them; here they are only looked for, as the tests and their names move."""
    tests = Path(__file__).parents[1]
    named = sorted({mutation.noticed for mutation in MUTATIONS if "::" in mutation.noticed})
    assert len(named) >= 20
    for path, _, name in (each.partition("::") for each in named):
        assert re.search(
            rf"(?m)^(async )?def {re.escape(name.partition('[')[0])}\(", (tests / path).read_text()
        ), name


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.name}-{m.noticed.rpartition('::')[2]}")
def test_every_mutation_finds_what_it_switches_off(mutation, monkeypatch):
    """The code moves on; a mutation of what is there no more is never made, and so never noticed."""
    mutation.patch(monkeypatch)
