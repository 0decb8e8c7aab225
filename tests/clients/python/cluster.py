"""redis-py's cluster-aware client, sync and asyncio, and locks of several libraries, while a node is killed.

usage: cluster.py CLUSTERPORT…    (run by with-cluster, which kills a node when it is told to)
"""

import asyncio
import sys
import time

import redis
import redis.asyncio.cluster as aio
from redis.cluster import ClusterNode, RedisCluster

import report
from lock_scenarios import HeldThroughFailover

KEYS = 300
SECONDS_MAX = 20


def connect(ports):
    return RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", port) for port in ports], socket_timeout=10)


def whole(r):
    """All commands that a cluster client routes, splits or gathers."""
    assert len(r.get_primaries()) == 3
    for number in range(KEYS):
        assert r.set(f"k:{number}", number) is True
    assert [r.get(f"k:{number}") for number in range(KEYS)] == [str(number).encode() for number in range(KEYS)]
    assert r.mget_nonatomic(*[f"k:{number}" for number in range(50)]) == [str(number).encode() for number in range(50)]
    assert r.delete("k:0", "k:1", "k:2") == 3 and r.exists("k:0", "k:3", "k:4") == 2
    assert sum(1 for _ in r.scan_iter(match="k:*", count=100)) == KEYS - 3
    assert r.mset({"{tag}a": 1, "{tag}b": 2}) is True and r.mget("{tag}a", "{tag}b") == [b"1", b"2"]
    try:
        r.mget("k:3", "k:4")
        raise AssertionError("keys of two slots in one command")
    except redis.exceptions.RedisClusterException:
        pass
    pipe = r.pipeline()
    for number in range(100):
        pipe.incr(f"n:{number}")
    assert pipe.execute() == [1] * 100


def follows_a_failover(r):
    for number in range(KEYS):
        r.set(f"k:{number}", 0)
    print("KILL A NODE", flush=True)
    errors = 0
    for lap in range(1, 4):
        for number in range(KEYS):
            end = time.monotonic() + SECONDS_MAX
            while True:
                try:
                    assert r.set(f"k:{number}", lap) is True
                    break
                except redis.RedisError as error:
                    errors += 1
                    assert time.monotonic() < end, f"no way to a new leader: {error}"
                    time.sleep(0.05)
    assert errors < 100, f"{errors} errors before the client found the new leaders"
    assert [r.get(f"k:{number}") for number in range(KEYS)] == [b"3"] * KEYS
    assert len(r.get_primaries()) == 2


async def asyncio_works(ports):
    async with aio.RedisCluster(startup_nodes=[aio.ClusterNode("127.0.0.1", port) for port in ports]) as r:
        values = []
        for lap in range(0, KEYS, 60):
            numbers = range(lap, lap + 60)
            await asyncio.gather(*(r.set(f"a:{number}", number) for number in numbers))
            values += await asyncio.gather(*(r.get(f"a:{number}") for number in numbers))
        assert values == [str(number).encode() for number in range(KEYS)]


class Balanced(redis.Redis):
    """A client behind a load balancer: each command goes to the next node."""

    def __init__(self, ports):
        super().__init__()
        self.nodes = [redis.Redis(port=port, socket_timeout=10) for port in ports]
        self.turn = 0

    def execute_command(self, *args, **options):
        self.turn += 1
        return self.nodes[self.turn % len(self.nodes)].execute_command(*args, **options)


def locks_behind_a_balancer(r):
    """redis-py's Lock, whose scripts are called by EVALSHA on nodes that never saw them."""
    sent = []
    for node in r.nodes:
        execute = node.execute_command
        node.execute_command = lambda *args, _execute=execute, **options: sent.append(args[0]) or _execute(*args, **options)
    for lap in range(60):
        mine, theirs = r.lock(f"lock:{lap % 7}", timeout=10), r.lock(f"lock:{lap % 7}", timeout=10)
        assert mine.acquire() and not theirs.acquire(blocking=False)
        assert mine.extend(5) and mine.reacquire()
        theirs.local.token = b"not the owner's"
        try:
            theirs.release()
            raise AssertionError("a lock was released by who does not own it")
        except redis.exceptions.LockNotOwnedError:
            pass
        mine.release()
    # redis-py loads a script by itself when a node does not know it: three scripts, once each, whichever node is next.
    assert sent.count("EVALSHA") >= 240 and sent.count("SCRIPT LOAD") == 3, sent.count("SCRIPT LOAD")
    add = r.nodes[0].register_script("return redis.call('incrby', KEYS[1], ARGV[1])")
    pipe = r.nodes[1].pipeline(transaction=False)
    for _ in range(10):
        add(keys=["sum"], args=[2], client=pipe)
    assert pipe.execute() == list(range(2, 22, 2))
    assert r.nodes[2].evalsha(add.sha, 1, "sum", 0) == 20


def main(ports):
    # A node's port for cluster-aware clients is 1000 above the one for all others.
    plain = [port - 1000 for port in ports]
    report.run("redis-py Lock behind a load balancer", lambda: locks_behind_a_balancer(Balanced(plain)))
    report.run("redis-py cluster whole", lambda: whole(connect(ports)))
    asyncio.run(report.run_async("redis-py cluster asyncio", asyncio_works, ports))
    held = []
    report.run("locks before a failover", lambda: held.append(HeldThroughFailover(plain, ports)))
    report.run("redis-py cluster follows a failover", lambda: follows_a_failover(connect(ports)))
    report.run("locks hold through a failover", lambda: held[0].check())


main([int(port) for port in sys.argv[1:]])
print(f"python cluster: {report.passed} passed, {report.failed} failed")
sys.exit(1 if report.failed else 0)
