"""Redisson's lock and its fair lock, held by one Java process and waited for in two, while the leader of their shard is killed.

Who held a lock is seen from outside: each holder appends a line to a file when it has it and one before it gives it back. See
tests/clients/java/src/main/java/LockMain.java."""

import contextlib
import glob
import os
import queue
import subprocess
import tempfile
import threading
import time

from network import address
from nodes import PORT, until

JAVA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "clients", "java", "target")
# All names lie in one shard, so that each failover hits all locks.
SHARD = "{redisson}"
KINDS = ("plain", "fair")
# Redisson renews a lock that has no time of its own after a third of this.
WATCHDOG_MS = 6_000
# From the release to the next holder: less than the watchdog's time, after which who waits would look by itself.
HAND_OVER_MS_MAX = 3_000
# From one holder to the next over a leader's death: an election and a margin for a busy machine. As a cluster-aware client
# Redisson adds its own timeouts, until it has given up the dead node: 4.2 s as LockMain.java sets them.
PAUSE_MS_MAX = {"single": 3_000, "cluster": 12_000}
# How many threads of each process contend for each kind of lock, and how often a lock changes hands between failovers.
THREADS = 3
BETWEEN_HOLDERS = 40
SECONDS_MAX = 60
# A Java machine's own start on a busy machine: 60 s were seen.
READY_SECONDS_MAX = 180


class Process:
    """A Java process with Redisson, and what it has told."""

    def __init__(self, mode, nodes):
        if not os.path.exists(os.path.join(JAVA, "classes", "LockMain.class")):
            raise AssertionError("the Java clients are not built: `mvn compile` in tests/clients/java")
        path = ":".join([os.path.join(JAVA, "classes"), *glob.glob(os.path.join(JAVA, "lib", "*.jar"))])
        command = ["java", "-Xmx128m", "-cp", path, "LockMain", mode, nodes, str(WATCHDOG_MS)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        self.unread = {}
        # Clients that were lost for good by Redisson's own fault: see LockMain.java.
        self.replaced = 0
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            if line.startswith("failed"):
                print(f"    {line.strip()}", flush=True)
            if line.startswith("replaced"):
                self.replaced += 1
                continue
            self.lines.put(line.strip().split(" ", 2))

    def tell(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()

    def told(self, what, thread=None, seconds=SECONDS_MAX):
        """The rest of the line that says so of this thread; an error if it says anything else."""
        while thread not in self.unread:
            try:
                word, *rest = self.lines.get(timeout=seconds)
            except queue.Empty:
                raise AssertionError(f"no `{what}` of {thread} in {seconds} s") from None
            self.unread[rest[0] if rest else None] = (word, rest[1] if len(rest) == 2 else "")
        word, rest = self.unread.pop(thread)
        assert word == what, f"{thread}: {word} {rest}"
        return rest

    def close(self):
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def processes(*ways):
    """Starts these, each (mode, nodes)."""
    started = [Process(*way) for way in ways]
    try:
        for process in started:
            process.told("ready", seconds=READY_SECONDS_MAX)
        yield started
    finally:
        for process in started:
            process.close()


class Record:
    """Who held a lock, in the order of the file."""

    def __init__(self, directory, kind):
        self.path = os.path.join(directory, kind)
        with open(self.path, "w", encoding="ascii"):
            pass

    def steps(self):
        """(`enter` or `leave`, thread, seconds of the machine's monotonic clock); no two holders at once, or an error."""
        with open(self.path, encoding="ascii") as file:
            # A line is whole once its end is there.
            lines = file.read().rpartition("\n")[0].splitlines()
        steps = [line.split() for line in lines]
        holder = None
        for what, thread, _ in steps:
            assert holder == (thread if what == "leave" else None), f"two holders: {thread} beside {holder}"
            holder = thread if what == "enter" else None
        return [(what, thread, int(ns) / 1e9) for what, thread, ns in steps]

    def holders(self):
        return [thread for what, thread, _ in self.steps() if what == "enter"]

    def hand_overs_ms(self):
        """From the moment before each release to when the next one had it."""
        steps = self.steps()
        return [(after[2] - before[2]) * 1000 for before, after in zip(steps, steps[1:]) if before[0] == "leave"]


def ways(cluster, mode, leader):
    """How two processes reach the cluster: as cluster-aware clients, or each through one node that lives on."""
    if mode == "cluster":
        nodes = ",".join(f"{address(number)}:{PORT + 1000}" for number in range(1, cluster.count + 1))
        return [(mode, nodes), (mode, nodes)]
    return [(mode, f"{address(number)}:{PORT}") for number in range(1, cluster.count + 1) if number != leader][:2]


def redisson_lock_outlives_its_leader(world):
    """A lock is held, two wait for it, and the leader dies: the holder keeps it, renews it and gives it to who is next."""
    with world.cluster() as cluster:
        for mode in ("cluster", "single"):
            leader = until("a leader of the locks", lambda: cluster.leader(SHARD))
            with tempfile.TemporaryDirectory() as directory, processes(*ways(cluster, mode, leader)) as (one, other):
                held_over_a_kill(cluster, mode, leader, directory, one, other)
            cluster.start(leader)
            cluster.wait_until_whole()


def held_over_a_kill(cluster, mode, leader, directory, one, other):
    records = {kind: Record(directory, kind) for kind in KINDS}
    owners = {}
    for kind, record in records.items():
        one.tell("lock", f"holder-{kind}", kind, SHARD + kind, record.path)
        owners[kind] = one.told("held", f"holder-{kind}").encode()
    client = cluster.client(next(number for number in cluster.live() if number != leader))
    queued = f"redisson_lock_queue:{SHARD}fair"
    for place, (process, name) in enumerate([(other, "second"), (one, "third")]):
        for kind, record in records.items():
            process.tell("lock", f"{name}-{kind}", kind, SHARD + kind, record.path)
        until("the fair lock's queue", lambda: client.llen(queued) == place + 1)
    killed_at = time.monotonic()
    cluster.kill(leader)
    first_ms, lowest_ms = wait_for_renewals(client, records, owners)
    assert cluster.leader(SHARD) != leader
    for kind, record in records.items():
        one.tell("unlock", f"holder-{kind}")
        errors = int(one.told("released", f"holder-{kind}"))
        # Both wait; of the fair lock's two the one that came first is first.
        name = until("the next holder", lambda: (record.holders() + [None])[1])
        rest = [f"second-{kind}", f"third-{kind}"]
        assert kind == "plain" or name == rest[0], "the fair lock's queue lost its order"
        rest.remove(name)
        for name in [name, *rest]:
            process = other if name.startswith("second") else one
            process.told("held", name)
            process.tell("unlock", name)
            errors += int(process.told("released", name))
        assert client.exists(SHARD + kind) == 0, "the lock was not released"
        longest = max(record.hand_overs_ms())
        print(f"    {mode}, {kind}: leader killed under {len(record.holders())} holders in turn; first answer about the lock after "
              f"{first_ms:.0f} ms, its time never below {lowest_ms[kind]} of {WATCHDOG_MS} ms, hand-overs {longest:.0f} ms at most, "
              f"{errors} requests to be asked again, {time.monotonic() - killed_at:.1f} s after the kill all were through", flush=True)
        assert longest <= HAND_OVER_MS_MAX, f"{kind}: a waiter was woken only after {longest:.0f} ms"


def wait_for_renewals(client, records, owners):
    """Until each lock was renewed twice and would have ended otherwise; it has its owner all the while. How long it took until
    anything was known of it, in ms, and the shortest time that each had left."""
    begun = time.monotonic()
    first_ms = None
    left, lowest, renewals = {}, {}, dict.fromkeys(records, 0)
    while min(renewals.values()) < 2 or time.monotonic() - begun < 1.5 * WATCHDOG_MS / 1000:
        assert time.monotonic() - begun < SECONDS_MAX, f"locks are not renewed: {renewals}"
        for kind, record in records.items():
            assert client.hgetall(SHARD + kind) == {owners[kind]: b"1"}, f"{kind}: another holder, or none"
            now = client.pttl(SHARD + kind)
            first_ms = first_ms or (time.monotonic() - begun) * 1000
            # By more than an answer can be late.
            renewals[kind] += now > left.get(kind, now) + WATCHDOG_MS / 6
            left[kind], lowest[kind] = now, min(lowest.get(kind, now), now)
            assert record.holders() == [f"holder-{kind}"], "somebody beside the holder"
        time.sleep(0.05)
    return first_ms, lowest


def redisson_locks_change_hands(world):
    """Threads of two processes take locks in turn while the leader is killed again and again."""
    with world.cluster() as cluster:
        for mode in ("cluster", "single"):
            with tempfile.TemporaryDirectory() as directory:
                contend_over_kills(cluster, mode, directory, world.failovers())


def contend_over_kills(cluster, mode, directory, failovers):
    leader = until("a leader of the locks", lambda: cluster.leader(SHARD))
    # Requests of its cluster client throw after a kill. Who waits for a fair lock and gives up so keeps its place in Redisson's queue,
    # and those behind it stand still for as long as Redisson lets it: once 30 s were seen, once more than 60.
    kinds = KINDS if mode == "single" else ["plain"]
    records = {kind: Record(directory, kind) for kind in kinds}
    with processes(*ways(cluster, mode, leader)) as both:
        threads = [(process, f"{at}-{number}-{kind}", kind) for at, process in enumerate(both) for number in range(THREADS)
                   for kind in kinds]
        for process, name, kind in threads:
            process.tell("loop", name, kind, SHARD + mode + kind, records[kind].path)
        for _ in range(failovers):
            wait_for_holders(records, "before a failover")
            # The processes that are no cluster clients are connected to nodes that always live.
            assert until("the same leader", lambda: cluster.leader(SHARD)) == leader
            cluster.kill(leader)
            wait_for_holders(records, "after a failover")
            cluster.start(leader)
            cluster.wait_until_whole()
        for process, name, _ in threads:
            process.tell("stop", name)
        told = {name: process.told("stopped", name).split() for process, name, _ in threads}
    replaced = sum(process.replaced for process in both)
    assert replaced <= failovers, f"{replaced} clients lost a channel for good"
    for kind, record in records.items():
        longest, holders = max(record.hand_overs_ms()), record.holders()
        errors = sum(int(count) for name, (_, count) in told.items() if name.endswith(kind))
        print(f"    {mode}, {kind}: {failovers} leaders killed, {len(holders)} holders, one at a time, longest pause between two "
              f"{longest:.0f} ms, {errors} requests to be asked again, {replaced} clients replaced", flush=True)
        assert len(holders) == sum(int(laps) for name, (laps, _) in told.items() if name.endswith(kind))
        assert longest <= PAUSE_MS_MAX[mode], f"{kind}: nobody had the lock for {longest:.0f} ms"


def wait_for_holders(records, what):
    """Until each lock had so many holders since now."""
    before = {kind: len(record.holders()) for kind, record in records.items()}
    until(f"holders {what}",
          lambda: all(len(record.holders()) >= before[kind] + BETWEEN_HOLDERS for kind, record in records.items()), SECONDS_MAX)
