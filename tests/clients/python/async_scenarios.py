"""redis-py under asyncio."""

import asyncio
import os
import time

import redis
import redis.asyncio as aio
from redis._parsers import _AsyncHiredisParser, _AsyncRESP2Parser

import report

PARSERS = {"python": _AsyncRESP2Parser, "hiredis": _AsyncHiredisParser}


def connect(port, protocol, parser, **settings):
    pool = aio.ConnectionPool(
        host="127.0.0.1", port=port, protocol=protocol, parser_class=PARSERS[parser], socket_timeout=20,
        max_connections=400, **settings
    )
    return aio.Redis(connection_pool=pool)


async def strings(r):
    assert await r.set("s", "one") is True and await r.get("s") == b"one" and await r.get("none") is None
    assert await r.set("s", "two", nx=True) is None and await r.getset("s", "two") == b"one"
    assert await r.mset({"m1": 1, "m2": 2}) is True and await r.mget("m1", "none", "m2") == [b"1", None, b"2"]
    assert await r.setbit("bits", 7, 1) == 0 and await r.bitcount("bits") == 1
    assert await r.incr("n") == 1 and await r.incrbyfloat("f", "1.5") == 1.5


async def concurrency(r):
    await asyncio.gather(*(r.incr("together") for _ in range(300)))
    assert await r.get("together") == b"300"


async def expiry(r):
    await r.set("e", 1, px=60)
    end = time.monotonic() + 5
    while await r.get("e") is not None:
        assert time.monotonic() < end, "the key did not expire"
        await asyncio.sleep(0.005)
    await r.setex("e", 100, "x")
    assert 98 <= await r.ttl("e") <= 100


async def pipelines(r):
    async with r.pipeline(transaction=False) as pipe:
        for number in range(5_000):
            pipe.set(f"p:{number}", number)
        assert await pipe.execute() == [True] * 5_000
    async with r.pipeline(transaction=False) as pipe:
        for number in range(5_000):
            pipe.get(f"p:{number}")
        assert await pipe.execute() == [str(number).encode() for number in range(5_000)]


async def transactions(r):
    async with r.pipeline(transaction=True) as pipe:
        assert await pipe.set("t1", 1).incr("t1").execute() == [True, 2]
        await pipe.watch("t1")
        await r.set("t1", 100)
        pipe.multi()
        pipe.set("t1", 0)
        try:
            await pipe.execute()
            raise AssertionError("EXEC went through although a watched key had changed")
        except redis.WatchError:
            pass
    assert await r.get("t1") == b"100"


async def publish_subscribe(r):
    async with r.pubsub() as sub:
        await sub.subscribe("news")
        assert (await sub.get_message(timeout=5))["type"] == "subscribe"
        assert await r.publish("news", "hello") == 1
        assert (await sub.get_message(timeout=5))["data"] == b"hello"
        await sub.unsubscribe("news")
        assert (await sub.get_message(timeout=5))["type"] == "unsubscribe"


async def scan(r):
    expected = {f"scan:{number}".encode() for number in range(1000)}
    await r.mset({key: "x" for key in expected})
    assert {key async for key in r.scan_iter(match="scan:*", count=50)} == expected


async def large_and_binary(r):
    value = os.urandom(3_000_000)
    assert await r.set(b"\x00large\r\n", value) and await r.get(b"\x00large\r\n") == value


async def reconnect(r):
    settings = r.connection_pool.connection_kwargs
    victim = aio.Redis(port=settings["port"], protocol=settings["protocol"], client_name="victim")
    first = await victim.client_id()
    assert await r.client_kill_filter(_id=first) == 1
    assert await victim.set("back", "again") is True and await victim.client_id() != first
    await victim.aclose()


SCENARIOS = [strings, concurrency, expiry, pipelines, transactions, publish_subscribe, scan, large_and_binary, reconnect]


async def all_scenarios(port):
    for parser in PARSERS:
        for protocol in (2, 3):
            r = connect(port, protocol, parser)
            for scenario in SCENARIOS:

                async def fresh():
                    await r.flushall()
                    await scenario(r)

                await report.run_async(f"redis-py asyncio {parser} RESP{protocol} {scenario.__name__}", fresh)
            await r.aclose()


def main(port):
    asyncio.run(all_scenarios(port))
