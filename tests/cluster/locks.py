"""Files that many processes add to under locks, while the leader of the locks' shard dies again and again.

Each process reads a number, waits a little, and writes the number plus one, under one of three kinds of locks. An addition
that is lost or made twice shows in the sum."""

import fcntl
import multiprocessing
import os
import queue
import random
import tempfile
import time

import redis

from network import address
from nodes import PORT, until

PROCESSES = 20
# All names lie in one shard, so that each failover hits all locks.
SHARD = "{locks}"
# Long enough that nobody who works on is overtaken: exact without fences.
LONG_MS = 5_000
SECTION_SECONDS = 0.002
# Shorter than the pauses that some holders make: only the fences keep the sum exact.
SHORT_MS = 400
PAUSE_SECONDS = 0.7
PAUSED_SHARE = 0.1
# Far above an election's time, and with that delay below LONG_MS, after which a lock would end without its session.
ELECTION_MS_MAX = 3_000
# How often a process changes its node, so that those that came back have clients too.
ANOTHER_NODE_SHARE = 0.1
# How often one tries to give a lock back.
RELEASES_MAX = 10
# How long a dead node's waiters stay in the queue, and its sessions keep their locks.
DELAY_MS = 1_000
# Additions under each kind of lock before and after each failover.
BETWEEN_ADDITIONS = 20
SECONDS_MAX = 60


class Stale(Exception):
    """The file knows of a later holder."""


class Register:
    """A file with a number, and the highest fence by which it was ever read or written; it refuses lower ones."""

    def __init__(self, path):
        self.path = path
        with open(path, "w", encoding="ascii") as file:
            file.write("0 0")

    def take(self, fence, change):
        with open(self.path, "r+", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            value, highest = map(int, file.read().split())
            if fence < highest:
                raise Stale()
            value = change(value)
            file.seek(0)
            file.truncate()
            file.write(f"{value} {fence}")
            return value

    def look(self):
        """The number; for who does not write."""
        with open(self.path, encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            return int(file.read().split()[0])

    def add(self, pause_seconds, fence=0):
        """In two steps, as one who has the lock may; the reading tells the fence as well."""
        value = self.take(fence, lambda value: value)
        time.sleep(pause_seconds)
        self.take(fence, lambda _: value + 1)


class Worker:
    """One process: adds to each file in turn, through any node; another one when its node is gone."""

    def __init__(self, number, nodes, registers, seed, ending):
        self.number, self.nodes, self.registers, self.ending = number, nodes, registers, ending
        self.lot = random.Random(f"{seed}/{number}")
        self.at = number % nodes
        self.client = None
        self.laps = 0
        self.seen = {name: 0 for name in (*registers, "refused", "errors")}
        self.last_error = None

    def run(self, results):
        """Until `ending`; then it tells what it has added, or what went wrong."""
        try:
            while not self.ending.is_set():
                for name, add in (("plain", self.plain), ("fenced", self.fenced), ("queued", self.queued)):
                    self.asked(add, name)
        except Exception as error:  # the parent raises it again
            results.put(f"process {self.number}: {error!r}, after {self.last_error}")
        else:
            results.put(self.seen)

    def asked(self, ask, *words):
        """Does it, now through this node, now through that; whether it went through."""
        if self.client is not None and self.lot.random() < ANOTHER_NODE_SHARE:
            self.leave(self.lot.randrange(self.nodes))
        try:
            if self.client is None:
                self.client = redis.Redis(host=address(self.at + 1), port=PORT, protocol=self.lot.choice([2, 3]), retry=None,
                                          socket_timeout=15, socket_connect_timeout=0.5)
            ask(*words)
            return True
        except Stale:
            self.seen["refused"] += 1
        except redis.RedisError as error:
            # Its node is gone, or the lock. What was asked may have happened: the next try is another owner's.
            self.seen["errors"] += 1
            self.last_error = repr(error)
            self.leave((self.at + 1) % self.nodes)
            time.sleep(0.02)
        return False

    def leave(self, at):
        self.client.close()
        self.client, self.at = None, at

    def add(self, name, pause_seconds, fence=0):
        """Once the file is written, the addition counts, whatever becomes of the lock."""
        self.registers[name].add(pause_seconds, fence)
        self.seen[name] += 1

    def plain(self, name):
        """redis-py's Lock as it stands."""
        lock = self.client.lock(SHARD + name, timeout=LONG_MS / 1000, sleep=0.01, blocking_timeout=SECONDS_MAX)
        assert lock.acquire(), "nobody gave the lock back"
        self.add(name, SECTION_SECONDS)
        lock.release()

    def fenced(self, name):
        """redis-py's Lock for a time that some holders exceed, with the fence of its grant."""
        lock = self.client.lock(SHARD + name, timeout=SHORT_MS / 1000, sleep=0.01, blocking_timeout=SECONDS_MAX)
        assert lock.acquire(), "nobody gave the lock back"
        fence = self.client.execute_command("LOCK.FENCE", SHARD + name)
        # It is this grant's only if the lock was still held when it was asked for.
        if fence is None or not lock.owned():
            return
        self.add(name, PAUSE_SECONDS if self.lot.random() < PAUSED_SHARE else SECTION_SECONDS, fence)
        lock.release()

    def queued(self, name):
        """LOCK.ACQUIRE, which waits in turn; a lock whose holder's node died goes to the next when its session has ended."""
        self.laps += 1
        owner = f"{self.number}-{self.laps}"
        fence = self.client.execute_command("LOCK.ACQUIRE", SHARD + name, owner, LONG_MS, "WAIT", LONG_MS, "SESSION")
        if fence is not None:
            self.add(name, SECTION_SECONDS, fence)
            # Nobody else has this owner's name, so it may be given back twice: through another node, if this one is gone.
            for _ in range(RELEASES_MAX):
                if self.asked(lambda: self.client.execute_command("LOCK.RELEASE", SHARD + name, owner)):
                    break


def wait_for_additions(registers, what):
    """Until so much was added to every file since now; how long each one's first took, in ms."""
    start = time.monotonic()
    before = {name: register.look() for name, register in registers.items()}
    first = {}

    def is_added():
        for name, register in registers.items():
            if register.look() > before[name]:
                first.setdefault(name, (time.monotonic() - start) * 1000)
        return all(register.look() >= before[name] + BETWEEN_ADDITIONS for name, register in registers.items())

    until(f"additions {what}", is_added, SECONDS_MAX)
    return first


def counters_behind_locks(world):
    """20 processes add to three files, each under a lock of its own kind, while the leader of the locks is killed."""
    fork = multiprocessing.get_context("fork")
    seed, kills = random.randrange(1 << 32), world.failovers(usual=10)
    with tempfile.TemporaryDirectory() as directory, world.cluster(flags=["--lock-delay", str(DELAY_MS)]) as cluster:
        registers = {name: Register(os.path.join(directory, name)) for name in ("plain", "fenced", "queued")}
        ending, results = fork.Event(), fork.Queue()
        workers = [Worker(number, cluster.count, registers, seed, ending) for number in range(PROCESSES)]
        processes = [fork.Process(target=worker.run, args=(results,), daemon=True) for worker in workers]
        for process in processes:
            process.start()
        try:
            gaps = [fail_over(cluster, registers) for _ in range(kills)]
        finally:
            ending.set()
            told = [told_by(results) for _ in processes]
            for process in processes:
                process.join(timeout=5)
        judge(registers, told, gaps, f"{kills} leaders killed, seed {seed}")


def told_by(results):
    try:
        return results.get(timeout=2 * SECONDS_MAX)
    except queue.Empty:
        return "a process never ended"


def fail_over(cluster, registers):
    """Kills who leads, and lets the processes add without it; then it comes back empty."""
    wait_for_additions(registers, "before a failover")
    number = until("a leader of the locks", lambda: cluster.leader(SHARD))
    cluster.kill(number)
    first = wait_for_additions(registers, "after a failover")
    assert until("a new leader of the locks", lambda: cluster.leader(SHARD)) != number
    cluster.start(number)
    cluster.wait_until_whole()
    return first


def judge(registers, told, gaps, what):
    wrong = [one for one in told if isinstance(one, str)]
    sums = {name: sum(one[name] for one in told if one not in wrong) for name in (*registers, "refused", "errors")}
    found = {name: register.look() for name, register in registers.items()}
    longest = {name: round(max(gap[name] for gap in gaps)) for name in registers}
    print(f"    {what}: files {found}, added {sums}, longest wait for the first addition after a kill, in ms: {longest}",
          flush=True)
    assert not wrong, wrong
    lost = {name: sums[name] - found[name] for name in registers if sums[name] != found[name]}
    assert not lost, f"additions lost: {lost}"
    ended_ms = DELAY_MS + ELECTION_MS_MAX
    assert longest["queued"] < ended_ms, f"a dead node's session kept its lock for more than {ended_ms} ms"
    assert sums["refused"] > 0, "no holder was paused for longer than its lock: fences were not tried"
