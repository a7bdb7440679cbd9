"""Names that are looked up for Tornado's client, also where no name server answers."""

import asyncio
import socket

import pytest
from tornado.httpclient import AsyncHTTPClient

from flychat import resolver
from flychat.resolver import Resolver

HERE = [(socket.AF_INET, ("127.0.0.1", 1))]


@pytest.fixture
def lookups(monkeypatch):
    """Those under way: (host, what the system will say)."""
    begun = []

    async def resolve(self, host, port, family=0):
        begun.append((host, asyncio.get_running_loop().create_future()))
        return await begun[-1][1]

    monkeypatch.setattr(resolver.DefaultLoopResolver, "resolve", resolve)
    return begun


@pytest.mark.gen_test
async def test_a_name_is_looked_up_once_at_a_time(lookups):
    names = Resolver()
    asked = [asyncio.create_task(names.resolve(host, 1)) for host in ("a", "b", "a", "a")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [host for host, _ in lookups] == ["a", "b"]
    for _, lookup in lookups:
        lookup.set_result(HERE)
    assert await asyncio.gather(*asked) == [HERE] * 4
    assert await names.resolve("a", 1) == HERE
    assert len(lookups) == 2, "what was found is used for a while"


@pytest.mark.gen_test
async def test_who_asks_does_not_wait_for_a_dead_name_server_and_what_it_finds_later_is_used(
    lookups, monkeypatch
):
    monkeypatch.setattr(resolver, "PATIENCE", 0.01)
    names = Resolver()
    for _ in range(3):
        with pytest.raises(OSError, match="no name server answers for a"):
            await names.resolve("a", 1)
    ((_, lookup),) = lookups
    lookup.set_result(HERE)
    monkeypatch.setattr(resolver, "PATIENCE", 60.0)
    assert await names.resolve("a", 1) == HERE
    assert len(lookups) == 1


@pytest.mark.gen_test
async def test_a_lookup_that_fails_too_late_is_no_line_of_the_log(lookups, monkeypatch, caplog):
    monkeypatch.setattr(resolver, "PATIENCE", 0.01)
    names = Resolver()
    client = AsyncHTTPClient(force_instance=True, resolver=names)
    with pytest.raises(OSError, match="no name server answers for a"):
        await client.fetch("http://a:1/")
    lookups[0][1].set_exception(socket.gaierror(-3, "Temporary failure in name resolution"))
    await asyncio.gather(*names._looking.values(), return_exceptions=True)
    for _ in range(20):  # more turns of the loop than there are futures that pass it on
        await asyncio.sleep(0)
    assert caplog.messages == []
    client.close()
