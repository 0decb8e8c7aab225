"""Locks of Python's libraries: redis-py's Lock under contention, redlock-py, pottery, and SET NX EX that tells doubles."""

import asyncio
import threading
import time

import pottery
import redis
import redis.asyncio as aio
from redlock import Redlock

import report

# How long a lock is held that a scenario releases itself.
TTL_MS = 30_000
SECONDS_MAX = 20


def connect(port, protocol):
    return redis.Redis(port=port, protocol=protocol, socket_timeout=20)


def together(count, work):
    """Runs `work(number)` in so many threads at once; what they gave, in the order of their numbers."""
    results, errors = [None] * count, []
    start = threading.Barrier(count)

    def run(number):
        try:
            start.wait(timeout=SECONDS_MAX)
            results[number] = work(number)
        except Exception as error:  # it is raised again where all can see it
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=3 * SECONDS_MAX)
    assert not any(thread.is_alive() for thread in threads), "a thread never came back"
    if errors:
        raise errors[0]
    return results


def refused(kind, action, *args, **named):
    """The action must end with this error."""
    try:
        action(*args, **named)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def counted_under(lock_of, r, threads, laps):
    """A counter that loses additions unless only one thread at a time reads and writes it."""
    r.set("count", 0)

    def work(number):
        for _ in range(laps):
            with lock_of(number):
                value = int(r.get("count"))
                time.sleep(0.001)
                r.set("count", value + 1)

    together(threads, work)
    assert int(r.get("count")) == threads * laps, f"{r.get('count')} of {threads * laps} additions: the lock had two holders"


def redis_py_contention(r):
    counted_under(lambda _: r.lock("busy", timeout=30, sleep=0.005, blocking_timeout=50), r, 8, 12)
    assert r.exists("busy") == 0


def redlock_py(r):
    mine, theirs = Redlock([r], retry_count=1), Redlock([r], retry_count=1)
    held = mine.lock("redlock-py", TTL_MS)
    assert held and 0 < held.validity <= TTL_MS and r.get("redlock-py") == held.key
    assert theirs.lock("redlock-py", TTL_MS) is False
    theirs.unlock(held._replace(key=b"not the owner's"))
    assert theirs.lock("redlock-py", TTL_MS) is False, "a lock was released by who does not own it"
    mine.unlock(held)
    assert r.exists("redlock-py") == 0
    short = mine.lock("redlock-py", 150)
    patient = Redlock([r], retry_count=400, retry_delay=0.01)
    second = patient.lock("redlock-py", TTL_MS)
    assert second and second.key != short.key
    mine.unlock(short)
    assert r.get("redlock-py") == second.key, "who had lost a lock released the next holder's"
    patient.unlock(second)
    won = together(12, lambda _: Redlock([r], retry_count=1).lock("race", TTL_MS))
    assert sum(bool(lock) for lock in won) == 1, won


def pottery_redlock(r):
    mine = pottery.Redlock(key="pottery", masters={r}, auto_release_time=30, num_extensions=2)
    theirs = pottery.Redlock(key="pottery", masters={r}, auto_release_time=30)
    assert mine.acquire() and 28 < mine.locked() <= 30
    assert not theirs.acquire(blocking=False) and not theirs.acquire(timeout=0.1) and theirs.locked() == 0
    r.pexpire("redlock:pottery", 5_000)
    assert mine.locked() <= 5
    mine.extend()
    mine.extend()
    assert mine.locked() > 28
    refused(pottery.TooManyExtensions, mine.extend)
    refused(pottery.ExtendUnlockedLock, theirs.extend)
    refused(pottery.ReleaseUnlockedLock, theirs.release)
    assert mine.locked() > 20, "a lock was released by who does not own it"
    mine.release()
    refused(pottery.ReleaseUnlockedLock, mine.release)
    with theirs:
        assert not mine.acquire(blocking=False)
    assert r.exists("redlock:pottery") == 0
    short = pottery.Redlock(key="pottery", masters={r}, auto_release_time=0.15)
    assert short.acquire() and mine.acquire(timeout=10) and short.locked() == 0
    mine.release()


def pottery_contention(r):
    counted_under(lambda _: pottery.Redlock(key="busy", masters={r}, auto_release_time=30), r, 4, 4)


def pottery_next_id(r):
    """Ids by a script that compares before it sets."""
    ids = pottery.NextID(key="orders", masters={r})
    assert [next(ids) for _ in range(3)] == [1, 2, 3]
    drawn = together(4, lambda _: [next(pottery.NextID(key="orders", masters={r}, num_tries=1000)) for _ in range(5)])
    drawn = [one for some in drawn for one in some]
    assert len(set(drawn)) == 20 and max(drawn) == 23, sorted(drawn)
    ids.reset()
    assert next(ids) == 1


def pottery_asyncio(r):
    port, protocol = (r.connection_pool.connection_kwargs[name] for name in ("port", "protocol"))

    async def scenario():
        client = aio.Redis(port=port, protocol=protocol)
        mine, theirs = (pottery.AIORedlock(key="async", masters={client}, auto_release_time=30) for _ in range(2))
        assert await mine.acquire() and not await theirs.acquire(blocking=False)
        await mine.extend()
        assert await mine.locked() > 28
        await mine.release()
        async with theirs:
            assert not await mine.acquire(blocking=False)
        assert await client.exists("redlock:async") == 0
        await client.aclose()

    asyncio.run(scenario())


def doubles(r):
    """A queue's workers that all see the same tasks: SET NX EX lets each task be done once."""
    tasks = range(40)
    done = together(8, lambda worker: [task for task in tasks if r.set(f"task:{task}", worker, nx=True, ex=60)])
    assert sorted(task for some in done for task in some) == list(tasks), "a task was done twice, or never"
    assert all(58 <= r.ttl(f"task:{task}") <= 60 for task in tasks)
    assert r.set("task:0", "again", nx=True, ex=60) is None and r.set("task:0", "again", nx=True, get=True, ex=60) is not None
    r.pexpire("task:0", 30)
    end = time.monotonic() + SECONDS_MAX
    while not r.set("task:0", "later", nx=True, ex=60):
        assert time.monotonic() < end, "a task that is due again was kept back"
        time.sleep(0.005)


SCENARIOS = [
    redis_py_contention, redlock_py, pottery_redlock, pottery_contention, pottery_next_id, pottery_asyncio, doubles,
]


def main(port):
    for protocol in (2, 3):
        r = connect(port, protocol)
        for scenario in SCENARIOS:
            report.run(f"locks RESP{protocol} {scenario.__name__}", lambda: (r.flushall(), scenario(r)))
        r.close()


class HeldThroughFailover:
    """Locks of three libraries, in shards that node 1 leads, asked for and extended all the time while it dies.

    `ports` are the nodes' plain ports, `cluster_ports` those for cluster-aware clients: the first of these tells whether node 1
    leads a key."""

    def __init__(self, ports, cluster_ports):
        self.first, self.mine, self.theirs = (connect(port, 3) for port in ports)
        asked = redis.Redis(port=cluster_ports[0])
        prefixes = ("held", "redlock-py", "redlock:pottery")
        name, self.redlock_name, pottery_name = (self.led(asked, prefix) for prefix in prefixes)
        # Acquired here, extended in a thread.
        self.lock, self.their_lock = (r.lock(name, timeout=60, thread_local=False) for r in (self.mine, self.theirs))
        self.redlock = Redlock([self.theirs], retry_count=1)
        # pottery puts `redlock:` before the key by itself.
        self.pottery, self.their_pottery = (
            pottery.Redlock(key=pottery_name.removeprefix("redlock:"), masters={r}, auto_release_time=60, num_extensions=10**9)
            for r in (self.mine, self.theirs)
        )
        assert self.lock.acquire(blocking=False) and self.pottery.acquire(blocking=False)
        self.redlock_held = Redlock([self.mine]).lock(self.redlock_name, 60_000)
        assert self.redlock_held
        self.laps = 0
        self.error = None
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    @staticmethod
    def led(asked, prefix):
        """The first name with this prefix whose shard the asked node leads."""
        for number in range(10_000):
            try:
                asked.exists(f"{prefix}:{number}")
                return f"{prefix}:{number}"
            except redis.exceptions.MovedError:
                pass
        raise AssertionError("the node leads nothing")

    def watch(self):
        try:
            while not self.ending.is_set():
                self.lap()
                self.laps += 1
        except Exception as error:  # it is raised again by check
            self.error = error

    def lap(self):
        assert not self.their_lock.acquire(blocking=False), "redis-py's lock had two holders"
        assert self.lock.extend(60, replace_ttl=True) and self.lock.owned()
        assert self.redlock.lock(self.redlock_name, 60_000) is False, "redlock-py's lock had two holders"
        assert not self.their_pottery.acquire(blocking=False), "pottery's lock had two holders"
        self.pottery.extend()

    def check(self):
        """To be called when node 1 has died."""
        refused(redis.ConnectionError, self.first.ping)
        before = self.laps
        end = time.monotonic() + SECONDS_MAX
        while self.error is None and self.laps < before + 3:
            assert time.monotonic() < end, "the locks were not asked for again"
            time.sleep(0.01)
        self.ending.set()
        self.thread.join(timeout=SECONDS_MAX)
        if self.error is not None:
            raise self.error
        self.lock.release()
        self.redlock.unlock(self.redlock_held)
        self.pottery.release()
        assert self.their_lock.acquire(blocking=False) and self.redlock.lock(self.redlock_name, 60_000)
        assert self.their_pottery.acquire(blocking=False)
