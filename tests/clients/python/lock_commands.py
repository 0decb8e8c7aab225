"""Torc's own LOCK.* commands by redis-py's execute_command: waiting in turn, sharing, sessions, fences."""

import threading
import time

import redis

import report
from lock_scenarios import SECONDS_MAX, connect, refused

TTL_MS = 30_000
DELAY_MS = 300


def info(r, name):
    """LOCK.INFO as a dictionary, in RESP2 too; none if nobody holds the lock."""
    answer = r.execute_command("LOCK.INFO", name)
    if answer is None:
        return None
    answer = pairs(answer)
    answer["holders"] = [pairs(holder) for holder in answer["holders"]]
    return answer


def pairs(answer):
    flat = list(answer.items()) if isinstance(answer, dict) else list(zip(answer[::2], answer[1::2]))
    return {name.decode(): value for name, value in flat}


def until(what, condition):
    end = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.005)


class Waiter:
    """A connection of its own that asks for a lock in a thread; started when it is in the queue, or has the lock."""

    def __init__(self, r, name, owner, *options, ttl=TTL_MS):
        settings = r.connection_pool.connection_kwargs
        self.client = redis.Redis(
            port=settings["port"], protocol=settings["protocol"], retry=None, single_connection_client=True
        )
        self.id = self.client.client_id()
        self.asked = ("LOCK.ACQUIRE", name, owner, ttl, *options)
        before = (info(r, name) or {"waiting": 0})["waiting"]
        self.fence, self.error, self.at = None, None, None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        until(f"{owner} to wait", lambda: not self.is_waiting() or (info(r, name) or {"waiting": 0})["waiting"] > before)

    def run(self):
        try:
            self.fence = self.client.execute_command(*self.asked)
        except redis.RedisError as error:
            self.error = error
        self.at = time.monotonic()

    def is_waiting(self):
        return self.thread.is_alive()

    def granted(self):
        self.thread.join(timeout=SECONDS_MAX)
        assert not self.thread.is_alive(), f"{self.asked} was never answered"
        assert self.error is None, self.error
        return self.fence


def acquired_and_released(r):
    fence = r.execute_command("LOCK.ACQUIRE", "l", "me", TTL_MS)
    assert isinstance(fence, int) and fence > 0
    assert r.execute_command("LOCK.ACQUIRE", "l", "you", TTL_MS) is None
    assert r.execute_command("LOCK.FENCE", "l") == fence and r.get("l") == b"me"
    assert r.execute_command("OBJECT", "PINNED", "l") == 1
    assert r.execute_command("LOCK.EXTEND", "l", "you", TTL_MS) == 0 and r.execute_command("LOCK.RELEASE", "l", "you") == 0
    assert r.execute_command("LOCK.EXTEND", "l", "me", 60_000) == 1 and r.pttl("l") > TTL_MS
    told = info(r, "l")
    assert told["mode"] == b"exclusive" and told["waiting"] == 0 and len(told["holders"]) == 1, told
    assert told["holders"][0]["owner"] == b"me" and told["holders"][0]["fence"] == fence, told
    assert r.execute_command("LOCK.LIST", "MATCH", "l*") == [b"0", [b"l"]]
    assert r.execute_command("LOCK.RELEASE", "l", "me") == 1 and r.execute_command("LOCK.RELEASE", "l", "me") == 0
    assert info(r, "l") is None and r.execute_command("LOCK.FENCE", "l") is None
    assert r.execute_command("LOCK.ACQUIRE", "l", "you", TTL_MS) > fence
    for wrong in ((), (0,), (-5,), ("x",), (10, "NOSUCH"), (10, "WAIT")):
        refused(redis.ResponseError, r.execute_command, "LOCK.ACQUIRE", "wrong", "me", *wrong)
    assert r.exists("wrong") == 0
    r.set("text", "no lock")
    refused(redis.ResponseError, lambda: r.execute_command("LOCK.GUARD", "text", 1, "SET", "text", "x"))
    assert r.get("text") == b"no lock"


def with_redis_pys_lock(r):
    """LOCK.* and redis-py's Lock see one and the same lock."""
    lock = r.lock("both", timeout=30)
    assert lock.acquire(blocking=False)
    fence = r.execute_command("LOCK.FENCE", "both")
    assert r.execute_command("LOCK.ACQUIRE", "both", "other", TTL_MS) is None
    waiter = Waiter(r, "both", "other", "WAIT", 20_000)
    assert waiter.is_waiting()
    lock.release()
    assert waiter.granted() > fence and not lock.acquire(blocking=False)
    assert r.execute_command("LOCK.RELEASE", "both", "other") == 1 and lock.acquire(blocking=False)
    lock.release()


def waiters_come_in_turn(r):
    fences = [r.execute_command("LOCK.ACQUIRE", "turn", "owner 0", TTL_MS)]
    waiters = [Waiter(r, "turn", f"owner {number}", "WAIT", 60_000 if number % 2 else 0) for number in range(1, 7)]
    assert info(r, "turn")["queue"] == [f"owner {number}".encode() for number in range(1, 7)]
    # The third's connection breaks: it leaves the queue.
    gone = waiters.pop(2)
    assert r.client_kill_filter(_id=gone.id) == 1
    until("the third to leave", lambda: info(r, "turn")["waiting"] == 5 and not gone.is_waiting())
    assert isinstance(gone.error, redis.ConnectionError), gone.error
    holder = "owner 0"
    for waiter in waiters:
        assert all(other.is_waiting() for other in waiters if other.fence is None), "a waiter came before its turn"
        assert r.execute_command("LOCK.RELEASE", "turn", holder) == 1
        fences.append(waiter.granted())
        holder = waiter.asked[2]
        assert info(r, "turn")["holders"][0]["owner"] == holder.encode()
    assert fences == sorted(set(fences)), f"fences do not rise: {fences}"
    assert r.execute_command("LOCK.RELEASE", "turn", holder) == 1 and info(r, "turn") is None


def a_wait_ends(r):
    r.execute_command("LOCK.ACQUIRE", "long", "me", TTL_MS)
    start = time.monotonic()
    assert r.execute_command("LOCK.ACQUIRE", "long", "you", TTL_MS, "WAIT", 200) is None
    took = time.monotonic() - start
    assert 0.19 <= took < 5, f"a wait of 200 ms took {took:.3f} s"
    assert info(r, "long")["waiting"] == 0
    # A lock that ends by its time wakes the next as well.
    r.execute_command("LOCK.EXTEND", "long", "me", 200)
    assert r.execute_command("LOCK.ACQUIRE", "long", "you", TTL_MS, "WAIT", 20_000) is not None
    assert 0.19 <= time.monotonic() - start - took < 5


def shared_by_readers(r):
    readers = [r.execute_command("LOCK.ACQUIRE", "rw", f"reader {number}", TTL_MS, "SHARED") for number in range(3)]
    assert all(readers) and info(r, "rw")["mode"] == b"shared" and len(info(r, "rw")["holders"]) == 3
    assert r.execute_command("LOCK.ACQUIRE", "rw", "writer", TTL_MS) is None
    writer = Waiter(r, "rw", "writer", "WAIT", 0)
    late = Waiter(r, "rw", "late", "SHARED", "WAIT", 0)
    later = Waiter(r, "rw", "later", "SHARED", "WAIT", 0)
    assert writer.is_waiting() and late.is_waiting() and later.is_waiting(), "a reader overtook a writer"
    for number in range(3):
        assert writer.is_waiting(), "a writer came in while readers held the lock"
        assert r.execute_command("LOCK.RELEASE", "rw", f"reader {number}") == 1
    fence = writer.granted()
    assert fence > max(readers) and late.is_waiting() and later.is_waiting()
    assert r.execute_command("LOCK.RELEASE", "rw", "writer") == 1
    assert late.granted() > fence and later.granted() > fence
    assert {holder["owner"] for holder in info(r, "rw")["holders"]} == {b"late", b"later"}


def session_ends_with_its_connection(r):
    """`lock-delay` after the connection has gone, and not before."""
    r.config_set("lock-delay", DELAY_MS)
    try:
        holder = Waiter(r, "session", "me", "SESSION")
        fence = holder.granted()
        assert info(r, "session")["holders"][0]["session"] == 1
        waiter = Waiter(r, "session", "next", "WAIT", 20_000)
        time.sleep(3 * DELAY_MS / 1000)
        assert waiter.is_waiting() and holder.client.ping(), "the lock of a session ended although the connection is alive"
        start = time.monotonic()
        holder.client.close()
        assert waiter.granted() > fence
        took = waiter.at - start
        assert DELAY_MS / 1000 - 0.05 <= took < 5, f"released {took:.3f} s after the connection had gone"
        plain = Waiter(r, "plain", "me")
        plain.granted()
        plain.client.close()
        time.sleep(2 * DELAY_MS / 1000)
        assert info(r, "plain") is not None, "a lock without SESSION ended with its connection"
    finally:
        r.config_set("lock-delay", 15_000)


def guarded_writes(r):
    old = r.execute_command("LOCK.ACQUIRE", "{g}lock", "me", TTL_MS)
    assert r.execute_command("LOCK.GUARD", "{g}lock", old, "SET", "{g}page", 1) in (b"OK", True)
    assert r.execute_command("LOCK.RELEASE", "{g}lock", "me") == 1
    free = refused(redis.ResponseError, r.execute_command, "LOCK.GUARD", "{g}lock", old, "SET", "{g}page", 2)
    new = r.execute_command("LOCK.ACQUIRE", "{g}lock", "you", TTL_MS)
    stale = refused(redis.ResponseError, r.execute_command, "LOCK.GUARD", "{g}lock", old, "SET", "{g}page", 3)
    assert "STALELOCK" in str(free) and "STALELOCK" in str(stale), (free, stale)
    assert r.get("{g}page") == b"1"
    assert r.execute_command("LOCK.GUARD", "{g}lock", new, "INCR", "{g}page") == 2
    refused(redis.ResponseError, r.execute_command, "LOCK.GUARD", "{g}lock", new + 1000, "INCR", "{g}page")
    assert r.get("{g}page") == b"2"


SCENARIOS = [
    acquired_and_released, with_redis_pys_lock, waiters_come_in_turn, a_wait_ends, shared_by_readers,
    session_ends_with_its_connection, guarded_writes,
]


def main(port):
    for protocol in (2, 3):
        r = connect(port, protocol)
        # Redis has nothing of the kind.
        if "torc_version" in r.info("server"):
            for scenario in SCENARIOS:
                report.run(f"LOCK commands RESP{protocol} {scenario.__name__}", lambda: (r.flushall(), scenario(r)))
        r.close()
