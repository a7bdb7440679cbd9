"""The rules of writing under random faults: they hold, and each that is switched off is missed."""

import uuid
from collections import Counter

import pytest

from flychat.storage.dynamodb import DynamoEngine
from flychat.storage.dynamodb_table import create_table
from tests.proof.log_rules import MUTATIONS, Violation, conversations, converse
from tests.support.dynamo_proxy import DynamoProxy


@pytest.mark.gen_test
async def test_under_random_faults_every_message_is_stored_once_as_acknowledged():
    await conversations()


@pytest.mark.gen_test(timeout=600)
async def test_three_writers_on_one_table_behind_a_bad_network_store_every_message_once(
    dynamo_environ, monkeypatch
):
    """Answers lost, late, replaced by a 500, and throttling, on the way to DynamoDB itself."""
    monkeypatch.setattr("tests.proof.log_rules.SECONDS", 200)  # of a busy machine
    table = f"flychat-{uuid.uuid4()}"
    await create_table(table, dynamo_environ)
    upstream = dynamo_environ["AWS_ENDPOINT_URL_DYNAMODB"]
    rates = {"lose": 0.08, "drop": 0.08, "late": 0.08, "error": 0.08, "throttle": 0.08}
    proxies = [
        await DynamoProxy.start(upstream, rates=rates, seed=n, late_after=3, strip_item=n == 1)
        for n in range(3)
    ]
    for proxy in proxies:
        proxy.script("PutItem", *rates)
    engines = [
        await DynamoEngine.open(table, {**dynamo_environ, "AWS_ENDPOINT_URL_DYNAMODB": proxy.url})
        for proxy in proxies
    ]
    store = await DynamoEngine.open(table, dynamo_environ)
    try:
        await converse(1, engines, store, messages=4)
    finally:
        await store.close()
        for proxy in proxies:
            await proxy.close()
    suffered = sum((proxy.suffered for proxy in proxies), Counter())
    assert all(suffered[fault] for fault in rates), suffered


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
@pytest.mark.gen_test
async def test_a_rule_that_is_switched_off_is_noticed(mutation, monkeypatch):
    mutation(monkeypatch)
    with pytest.raises(Violation):
        await conversations()
