"""redis-py on hashes, lists, sets and sorted sets: what an application does with them."""

import threading
import time

import redis

import report
from lock_scenarios import refused


def hashes(r):
    assert r.hset("h", mapping={"a": 1, "b": "x", b"\x00\xff": b"\xff\x00"}) == 3 and r.hset("h", "a", 2) == 0
    assert r.hget("h", "a") == b"2" and r.hmget("h", "a", "none", "b") == [b"2", None, b"x"]
    assert r.hgetall("h") == {b"a": b"2", b"b": b"x", b"\x00\xff": b"\xff\x00"}
    assert r.hsetnx("h", "a", 9) == 0 and r.hincrby("h", "a", 40) == 42 and r.hincrbyfloat("h", "f", 0.5) == 0.5
    assert r.hlen("h") == 4 and r.hexists("h", "a") and r.hdel("h", "a", "none") == 1 and r.hstrlen("h", "b") == 1
    assert sorted(r.hkeys("h")) == [b"\x00\xff", b"b", b"f"] and len(r.hvals("h")) == 3
    r.hset("big", mapping={f"f{number}": number for number in range(3000)})
    assert dict(r.hscan_iter("big", count=100)) == {f"f{number}".encode(): str(number).encode() for number in range(3000)}
    picked = r.hrandfield("big", 5, withvalues=True)
    assert len(picked) in (5, 10)
    refused(redis.ResponseError, r.lpush, "h", 1)
    refused(redis.ResponseError, r.hincrby, "h", "b")


def lists(r):
    assert r.rpush("l", *range(5)) == 5 and r.lpush("l", "first") == 6 and r.lpushx("none", 1) == 0
    assert r.lrange("l", 0, -1) == [b"first", b"0", b"1", b"2", b"3", b"4"] and r.lindex("l", -1) == b"4"
    assert r.lpos("l", "2") == 3 and r.linsert("l", "BEFORE", "2", "1.5") == 7 and r.lset("l", 0, "zero") is True
    assert r.lrem("l", 1, "1.5") == 1 and r.ltrim("l", 1, 3) is True and r.lrange("l", 0, -1) == [b"0", b"1", b"2"]
    assert r.lpop("l", 2) == [b"0", b"1"] and r.rpop("l") == b"2" and r.lpop("l") is None and r.exists("l") == 0
    r.rpush("{l}a", *range(2000))
    for _ in range(2000):
        r.rpoplpush("{l}a", "{l}b")
    assert r.llen("{l}b") == 2000 and r.lrange("{l}b", 0, 1) == [b"0", b"1"]
    assert r.lmpop(2, "{l}a", "{l}b", direction="RIGHT", count=2) == [b"{l}b", [b"1999", b"1998"]]


def sets(r):
    assert r.sadd("{s}a", *range(10)) == 10 and r.sadd("{s}a", 1) == 0 and r.sadd("{s}b", *range(5, 15)) == 10
    numbers = lambda some: {number.encode() for number in map(str, some)}
    assert set(r.sinter("{s}a", "{s}b")) == numbers(range(5, 10)) and set(r.sunion("{s}a", "{s}b")) == numbers(range(15))
    assert set(r.sdiff("{s}a", "{s}b")) == numbers(range(5)) and r.sintercard(2, ["{s}a", "{s}b"], limit=3) == 3
    assert r.sinterstore("{s}c", "{s}a", "{s}b") == 5 and r.smove("{s}c", "{s}d", 5) and r.scard("{s}c") == 4
    assert r.sismember("{s}a", 3) and list(map(bool, r.smismember("{s}a", 3, 99))) == [True, False]
    popped = r.spop("{s}a", 4)
    assert len(popped) == 4 and r.scard("{s}a") == 6 and len(r.srandmember("{s}a", -20)) == 20 and r.srem("{s}b", 5, 99) == 1
    r.sadd("big", *(f"member {number}" for number in range(3000)))
    assert len(set(r.sscan_iter("big", count=100))) == 3000


def sorted_sets(r):
    assert r.zadd("{z}a", {"one": 1, "two": 2, "three": 3}) == 3 and r.zadd("{z}a", {"two": 1.5}, xx=True, gt=True, ch=True) == 0
    assert r.zadd("{z}a", {"two": 2.5}, ch=True) == 1 and r.zincrby("{z}a", 2, "one") == 3 and r.zscore("{z}a", "none") is None
    pairs = lambda reply: [(member, score) for member, score in (reply if reply and isinstance(reply[0], (list, tuple)) else [reply])]
    assert pairs(r.zrange("{z}a", 0, -1, withscores=True)) == [(b"two", 2.5), (b"one", 3), (b"three", 3)]
    assert r.zrank("{z}a", "three") == 2 and r.zrevrank("{z}a", "three") == 0 and r.zcount("{z}a", "(2.5", "+inf") == 2
    assert r.zrangebyscore("{z}a", 2, 3, start=1, num=1) == [b"one"] and r.zmscore("{z}a", ["two", "none"]) == [2.5, None]
    r.zadd("{z}b", {"two": 10, "four": 4})
    assert r.zunionstore("{z}c", {"{z}a": 1, "{z}b": 2}) == 4 and r.zscore("{z}c", "two") == 22.5
    assert pairs(r.zinter(["{z}a", "{z}b"], aggregate="MAX", withscores=True)) == [(b"two", 10)]
    assert pairs(r.zpopmin("{z}c")) == [(b"one", 3)] and pairs(r.zpopmax("{z}c")) == [(b"two", 22.5)]
    r.zadd("lex", dict.fromkeys("abcde", 0))
    assert r.zrangebylex("lex", "(a", "[c") == [b"b", b"c"] and r.zremrangebyrank("lex", 0, 1) == 2
    r.zadd("big", {f"member {number}": number / 2 for number in range(3000)})
    assert dict(r.zscan_iter("big", count=100)) == {f"member {number}".encode(): number / 2 for number in range(3000)}
    assert r.zremrangebyscore("big", "-inf", "(100") == 200 and r.zcard("big") == 2800


def pipelines_of_all(r):
    pipe = r.pipeline(transaction=False)
    for number in range(500):
        pipe.hset(f"h:{number % 7}", number, number).rpush(f"l:{number % 7}", number).sadd(f"s:{number % 7}", number)
        pipe.zadd(f"z:{number % 7}", {number: number})
    assert len(pipe.execute()) == 2000
    pipe = r.pipeline(transaction=False)
    for at in range(7):
        pipe.hlen(f"h:{at}").llen(f"l:{at}").scard(f"s:{at}").zcard(f"z:{at}")
    assert sum(pipe.execute()) == 2000
    pipe = r.pipeline()
    pipe.rpush("{t}l", 1, 2).lmove("{t}l", "{t}m", "LEFT", "RIGHT").hset("{t}h", "f", "v").zadd("{t}z", {"m": 1}).blpop("{t}none", 1)
    assert pipe.execute() == [2, b"1", 1, 1, None]
    page = r.pipeline(transaction=False)
    page.lpush("{t}l", "x").hget("{t}l", "f").lpop("{t}l")
    replies = page.execute(raise_on_error=False)
    assert replies[0] == 2 and "WRONGTYPE" in str(replies[1]) and replies[2] == b"x", replies


def later(action, *args):
    timer = threading.Timer(0.15, action, args)
    timer.start()
    return timer


def blocking_pops(r):
    settings = {name: r.connection_pool.connection_kwargs[name] for name in ("port", "protocol")}
    other = redis.Redis(**settings)
    start = time.monotonic()
    assert r.blpop("none", timeout=0.2) is None and 0.15 < time.monotonic() - start < 5
    pair = lambda reply: (reply[0], reply[1])
    timer = later(other.rpush, "second", "x", "y")
    assert pair(r.blpop(["first", "second", "third"], timeout=10)) == (b"second", b"x") and pair(r.brpop("second", 1)) == (b"second", b"y")
    timer.join()
    later(other.rpush, "{b}from", "moved")
    assert r.blmove("{b}from", "{b}to", 10, "LEFT", "RIGHT") == b"moved" and r.lrange("{b}to", 0, -1) == [b"moved"]
    later(other.zadd, "z", {"low": 1, "high": 2.5})
    reply = r.bzpopmin("z", 10)
    assert (reply[0], reply[1], float(reply[2])) == (b"z", b"low", 1) and float(r.bzpopmax("z", 10)[2]) == 2.5
    later(other.lpush, "{b}mpop", "a", "b")
    assert r.blmpop(10, 2, "{b}none", "{b}mpop", direction="LEFT", count=5) == [b"{b}mpop", [b"b", b"a"]]
    # A waiter whose connection ends takes nothing with it.
    gone = redis.Redis(**settings, socket_timeout=0.2, retry=None)
    refused(redis.TimeoutError, gone.blpop, "left", 10)
    gone.close()
    assert other.rpush("left", "kept") == 1
    assert pair(r.blpop("left", 5)) == (b"left", b"kept")
    other.close()


def main(port):
    for protocol in (2, 3):
        r = redis.Redis(port=port, protocol=protocol, socket_timeout=20)
        for scenario in (hashes, lists, sets, sorted_sets, pipelines_of_all, blocking_pops):
            report.run(f"collections RESP{protocol} {scenario.__name__}", lambda: (r.flushall(), scenario(r)))
        r.close()
