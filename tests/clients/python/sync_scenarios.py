"""redis-py, blocking: what an application does with it."""

import os
import time

import redis
from redis._parsers import _HiredisParser, _RESP2Parser
from redis.backoff import NoBackoff
from redis.cache import CacheConfig
from redis.retry import Retry

import report

PARSERS = {"python": _RESP2Parser, "hiredis": _HiredisParser}


def connect(port, protocol, parser, **settings):
    pool = redis.ConnectionPool(
        host="127.0.0.1", port=port, protocol=protocol, parser_class=PARSERS[parser], socket_timeout=20, **settings
    )
    return redis.Redis(connection_pool=pool)


def strings(r):
    assert r.set("s", "one") is True
    assert r.get("s") == b"one"
    assert r.get("none") is None
    assert r.set("s", "two", nx=True) is None
    assert r.set("s", "two", xx=True, get=True) == b"one"
    assert r.append("s", "+") == 4 and r.strlen("s") == 4
    assert r.getrange("s", 0, 1) == b"tw" and r.setrange("s", 3, "!") == 4
    assert r.mset({"m1": 1, "m2": 2}) is True
    assert r.mget("m1", "none", "m2") == [b"1", None, b"2"]
    assert r.msetnx({"{m1}": 5, "{m1}9": 5}) in (1, True) and r.msetnx({"{m1}": 6, "{m1}8": 6}) in (0, False)
    assert r.delete("{m1}", "{m1}9") == 2
    assert r.getdel("m1") == b"1" and r.exists("m1", "m2") == 1
    assert r.lcs("{s}", "s") in (b"", "")
    assert r.setbit("bits", 7, 1) == 0 and r.getbit("bits", 7) == 1 and r.bitcount("bits") == 1
    field = r.bitfield("bits")
    assert field.set("u8", 8, 255).incrby("u8", 8, 1).execute() == [0, 0]
    assert r.rename("s", "{s}t") is True and r.type("{s}t") == b"string"
    assert r.copy("{s}t", "{s}u") in (1, True) and r.delete("{s}t", "{s}u") == 2
    assert r.touch("m2") == 1 and r.unlink("m2") == 1


def counters(r):
    assert [r.incr("n") for _ in range(3)] == [1, 2, 3]
    assert r.incrby("n", 10) == 13 and r.decr("n") == 12 and r.decrby("n", 20) == -8
    assert r.incrbyfloat("f", "0.1") == 0.1 and abs(r.incrbyfloat("f", "0.2") - 0.3) < 1e-12
    r.set("text", "abc")
    try:
        r.incr("text")
        raise AssertionError("INCR of a text was accepted")
    except redis.ResponseError as error:
        assert str(error) == "value is not an integer or out of range", error
    r.set("top", 2**63 - 1)
    try:
        r.incr("top")
        raise AssertionError("INCR beyond 64 bits was accepted")
    except redis.ResponseError as error:
        assert "overflow" in str(error), error


def expiry(r):
    r.set("e", 1, px=60)
    assert 0 < r.pttl("e") <= 60
    end = time.monotonic() + 5
    while r.get("e") is not None:
        assert time.monotonic() < end, "the key did not expire"
        time.sleep(0.005)
    assert r.ttl("e") == -2
    r.set("e", 1)
    assert r.ttl("e") == -1 and r.expire("e", 100) is True and 98 <= r.ttl("e") <= 100
    assert r.expire("e", 50, gt=True) is False and r.expire("e", 50, lt=True) is True
    assert r.persist("e") is True and r.ttl("e") == -1
    moment = int(time.time()) + 1000
    assert r.expireat("e", moment) is True and abs(r.expiretime("e") - moment) <= 1
    assert r.getex("e", persist=True) == b"1" and r.ttl("e") == -1
    r.setex("e", 100, "x")
    r.set("e", "y", keepttl=True)
    assert r.ttl("e") > 90


def pipelines(r):
    with r.pipeline(transaction=False) as pipe:
        for number in range(10_000):
            pipe.set(f"p:{number}", number)
        assert pipe.execute() == [True] * 10_000
    with r.pipeline(transaction=False) as pipe:
        for number in range(10_000):
            pipe.get(f"p:{number}")
        assert pipe.execute() == [str(number).encode() for number in range(10_000)]
    with r.pipeline(transaction=False) as pipe:
        pipe.set("bad", "x").incr("bad").get("bad")
        replies = pipe.execute(raise_on_error=False)
        assert replies[0] is True and isinstance(replies[1], redis.ResponseError) and replies[2] == b"x"


def transactions(r):
    with r.pipeline() as pipe:
        assert pipe.set("t1", 1).incr("t1").get("t1").execute() == [True, 2, b"2"]
    other = redis.Redis(connection_pool=r.connection_pool)
    with r.pipeline() as pipe:
        pipe.watch("t1")
        value = int(pipe.get("t1"))
        other.set("t1", 100)
        pipe.multi()
        pipe.set("t1", value + 1)
        try:
            pipe.execute()
            raise AssertionError("EXEC went through although a watched key had changed")
        except redis.WatchError:
            pass
    assert r.get("t1") == b"100"

    def add(pipe):
        value = int(pipe.get("t1"))
        pipe.multi()
        pipe.set("t1", value + 1)

    assert r.transaction(add, "t1") == [True] and r.get("t1") == b"101"
    with r.pipeline() as pipe:
        pipe.set("t2", "x")
        pipe.execute_command("NOSUCH")
        try:
            pipe.execute()
            raise AssertionError("EXEC went through although a command was refused")
        except redis.ResponseError:
            pass
    assert r.get("t2") is None


def scripts(r):
    same = r.register_script("if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0")
    r.set("owner", "x")
    assert same(keys=["owner"], args=["y"]) == 0 and same(keys=["owner"], args=["x"]) == 1 and r.exists("owner") == 0
    assert r.eval("return {KEYS[1], ARGV[1], 3.7, cjson.encode({1, 2})}", 1, "k", "a") == [b"k", b"a", 3, b"[1,2]"]
    try:
        r.evalsha("0" * 40, 0)
        raise AssertionError("a script ran that nobody knows")
    except redis.exceptions.NoScriptError:
        pass


def locks(r):
    """redis-py's own Lock: all it does after acquiring is scripts."""
    other = redis.Redis(connection_pool=r.connection_pool)
    mine, theirs = r.lock("lock", timeout=10), other.lock("lock", timeout=10)
    assert mine.acquire() and not theirs.acquire(blocking=False)
    assert mine.extend(5) and mine.reacquire() and mine.owned() and not theirs.owned()
    for attempt in (theirs.release, lambda: theirs.extend(1), theirs.reacquire):
        theirs.local.token = b"not the owner's"
        try:
            attempt()
            raise AssertionError("a lock was changed by who does not own it")
        except redis.exceptions.LockNotOwnedError:
            pass
    assert mine.owned()
    r.pexpire("lock", 200)
    waiting = other.lock("lock", timeout=10, blocking_timeout=5)
    assert waiting.acquire()
    try:
        mine.release()
        raise AssertionError("a lock was released that had expired")
    except redis.exceptions.LockNotOwnedError:
        pass
    waiting.release()
    assert r.exists("lock") == 0


def publish_subscribe(r):
    sub = r.pubsub()
    sub.subscribe("news")
    sub.psubscribe("n*")
    assert sub.get_message(timeout=5)["type"] == "subscribe"
    assert sub.get_message(timeout=5)["type"] == "psubscribe"
    assert r.publish("news", b"\x00\xffhello") == 2
    messages = [sub.get_message(timeout=5) for _ in range(2)]
    assert sorted(message["type"] for message in messages) == ["message", "pmessage"]
    assert all(message["data"] == b"\x00\xffhello" and message["channel"] == b"news" for message in messages)
    assert r.pubsub_channels() == [b"news"] and r.pubsub_numsub("news") == [(b"news", 1)] and r.pubsub_numpat() == 1
    sub.unsubscribe()
    assert sub.get_message(timeout=5)["type"] == "unsubscribe"
    assert r.publish("news", "x") == 1
    sub.close()


def scan(r):
    expected = {f"scan:{number}".encode() for number in range(2500)}
    r.mset({key: "x" for key in expected})
    assert set(r.scan_iter(match="scan:*", count=100)) == expected
    assert expected <= set(r.scan_iter(_type="string"))
    assert set(r.keys("scan:1?")) == {f"scan:{number}".encode() for number in range(10, 20)}
    assert r.dbsize() >= 2500 and r.randomkey() is not None


def large_and_binary(r):
    value = os.urandom(5_000_000)
    assert r.set("large", value) and r.get("large") == value and r.strlen("large") == 5_000_000
    key = bytes(range(256))
    assert r.set(key, bytes(reversed(key))) and r.get(key) == bytes(reversed(key))
    assert r.mget(["large"] * 4) == [value] * 4
    payload = r.dump(key)
    assert r.restore("restored", 0, payload) in (b"OK", True) and r.get("restored") == bytes(reversed(key))


def reconnect(r):
    assert r.ping() is True
    victim = connect(r.connection_pool.connection_kwargs["port"], r.connection_pool.connection_kwargs["protocol"], "python",
                     client_name="victim", retry=Retry(NoBackoff(), 3), max_connections=1)
    first = victim.client_id()
    assert victim.client_getname() in (b"victim", "victim")
    assert r.client_kill_filter(_id=first) == 1
    assert victim.set("back", "again") is True
    assert victim.client_id() != first and victim.client_getname() in (b"victim", "victim")
    assert any(int(client["id"]) == victim.client_id() for client in r.client_list())
    victim.close()


def databases(r):
    port = r.connection_pool.connection_kwargs["port"]
    r.set("same", "zero")
    nine = redis.Redis(port=port, db=9, protocol=r.connection_pool.connection_kwargs["protocol"])
    assert nine.get("same") is None and nine.set("same", "nine")
    assert r.get("same") == b"zero" and nine.get("same") == b"nine"
    assert nine.flushdb() is True and r.get("same") == b"zero"


def information(r):
    info = r.info()
    assert info["redis_version"].startswith("7.") and info["redis_mode"] == "standalone" and info["loading"] == 0
    assert info["used_memory"] > 0 and info["connected_clients"] >= 1 and "maxmemory_policy" in info
    assert r.config_get("databases") == {"databases": "16"}
    assert r.config_set("timeout", "0") is True
    assert r.command_count() > 80 and "get" in r.command()
    assert len(r.time()) == 2 and r.echo("hi") == b"hi" and r.set("some", 1) and r.memory_usage("some") >= 1
    assert r.slowlog_reset() is True and isinstance(r.slowlog_get(), list)


def tracking(port, parser):
    info = redis.Redis(port=port, protocol=2).info("server")
    version = tuple(int(part) for part in info["redis_version"].split(".")[:2])
    if version < (7, 4):
        # redis-py keeps its cache off then. An older Redis may say so, Torc may not.
        assert "torc_version" not in info, f"redis_version {info['redis_version']} keeps clients' caches off"
        return
    r = connect(port, 3, parser, cache_config=CacheConfig(max_size=100))
    other = redis.Redis(port=port, protocol=2)
    other.set("tracked", "first")
    cached = r.get("tracked")
    assert cached == b"first" and r.get_cache() is not None and r.get_cache().size == 1
    other.set("tracked", "second")
    end = time.monotonic() + 5
    while r.get("tracked") != b"second":
        assert time.monotonic() < end, "no invalidation came"
    r.close()


SCENARIOS = [
    strings, counters, expiry, pipelines, transactions, scripts, locks, publish_subscribe, scan, large_and_binary, reconnect,
    databases, information,
]


def main(port):
    for parser in PARSERS:
        for protocol in (2, 3):
            r = connect(port, protocol, parser)
            for scenario in SCENARIOS:
                name = f"redis-py {parser} RESP{protocol} {scenario.__name__}"
                report.run(name, lambda: (r.flushall(), scenario(r)))
            r.close()
        report.run(f"redis-py {parser} RESP3 client-side cache", tracking, port, parser)
