"""The stories: what happens to the cluster while clients work on it."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time

import redis
from redis.cluster import RedisCluster

from load import Load
from locks import counters_behind_locks
from lost_queues import queue_loses_nothing
from mixture import Mixture
from network import address
from nodes import PORT, Cluster, until
from redisson import redisson_lock_outlives_its_leader, redisson_locks_change_hands
from workers import celery_loses_no_task, rq_loses_no_job

# Writes stand still at most so long when a node is lost: an election and a margin for a busy machine.
GAP_MS_MAX = 2_000
BEFORE_SECONDS = 1.5
AFTER_SECONDS = 2.5


class World:
    """What every story needs."""

    def __init__(self, torc, checker, hub, failovers):
        self.torc, self.checker, self.hub, self.asked_failovers = torc, checker, hub, failovers

    def failovers(self, usual=3):
        """How many leaders a story kills: as the command line says, or as is usual for it."""
        return self.asked_failovers or usual

    def cluster(self, count=3, **settings):
        return Cluster(self.torc, self.hub, count, **settings)

    def check(self, load, what, gap_ms_max=GAP_MS_MAX, errors_max=0):
        """Has the history checked, and prints its summary."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "history")
            load.write(path)
            checked = subprocess.run([self.checker, "check-history", path], capture_output=True, text=True, check=False)
            if checked.returncode != 0:
                kept = tempfile.mkstemp(prefix="torc-history-")[1]
                shutil.copy(path, kept)
                print(f"    the history is kept in {kept}", flush=True)
        gap_ms, single_ms = load.gap_ms()
        summary = (f"{what}: {load.answered()} operations answered, {len(load.errors)} failed, "
                   f"longest write gap {gap_ms:.0f} ms, slowest write {single_ms:.0f} ms")
        print(f"    {summary} | {checked.stdout.strip()[-600:]}", flush=True)
        assert checked.returncode == 0, f"{summary}: {checked.stdout[-2000:]} {checked.stderr[-500:]}"
        for error in load.errors[:5]:
            print(f"    failed: {error}", flush=True)
        assert load.answered() > 200, f"too little was asked: {summary}"
        assert not load.cut_off or load.answered_there() > 50, f"the node that was cut off answered next to nothing: {summary}"
        assert len(load.errors) <= errors_max, f"{summary}: {load.errors[:5]}"
        if gap_ms_max is not None:
            assert single_ms <= gap_ms_max, f"{summary}: more than {gap_ms_max} ms"


@contextlib.contextmanager
def before_and_after(seconds=AFTER_SECONDS):
    """Load runs for a while on both sides of what happens inside."""
    time.sleep(BEFORE_SECONDS)
    yield
    time.sleep(seconds)


def quiet(world):
    with world.cluster() as cluster, Load(cluster) as load:
        time.sleep(3)
    world.check(load, "no fault", gap_ms_max=1_000)


def leader_killed(world):
    with world.cluster() as cluster:
        with Load(cluster) as load, before_and_after():
            cluster.kill(1)
        world.check(load, "kill -9 of node 1")
        for number in (2, 3):
            assert cluster.leads(number) > 0


def leader_of_everything_killed(world):
    with world.cluster() as cluster:
        status = cluster.status(1)
        shards = sum(node["leads"] for node in status["nodes"])
        for shard in range(shards):
            cluster.client(1).execute_command("TORC", "SHARD", "LEAD", shard, status["node"])
        until("node 1 to lead everything", lambda: cluster.leads(1) == shards)
        with Load(cluster, nodes=[2, 3]) as load, before_and_after():
            assert cluster.leads(1) == shards
            cluster.kill(1)
        world.check(load, f"kill -9 of the leader of all {shards} shards")


def paused(world):
    with world.cluster() as cluster:
        with Load(cluster) as load, before_and_after():
            cluster.signal(1, "SIGSTOP")
            time.sleep(5)
            cluster.signal(1, "SIGCONT")
        # Who asks the paused node waits as long as it is paused.
        world.check(load, "SIGSTOP of node 1 for 5 s", gap_ms_max=8_000)
        cluster.wait_until_whole()


def rolling_restart(world):
    with world.cluster() as cluster:
        with Load(cluster) as load, before_and_after():
            for number in (1, 2, 3):
                cluster.stop(number)
                cluster.start(number)
                cluster.wait_until_whole()
        world.check(load, "all restarted, one after the other", gap_ms_max=4_000)


def minority_cut_off(world):
    with world.cluster() as cluster:
        with Load(cluster, nodes=[2, 3], cut_off=1) as load, before_and_after():
            for other in (2, 3):
                cluster.network.part(1, other)
            time.sleep(3)
            cluster.network.heal()
        world.check(load, "node 1 cut off for 3 s")
        cluster.wait_until_whole()


def cut_one_way(world):
    with world.cluster() as cluster:
        with Load(cluster, nodes=[2, 3], cut_off=1) as load, before_and_after():
            for other in (2, 3):
                cluster.network.cut(1, other)
            time.sleep(3)
            cluster.network.heal()
        world.check(load, "nothing from node 1 arrives for 3 s", gap_ms_max=4_000)
        cluster.wait_until_whole()


def partial_partition(world):
    with world.cluster() as cluster:
        with Load(cluster) as load, before_and_after():
            cluster.network.part(1, 2)
            time.sleep(4)
            cluster.network.heal()
        world.check(load, "nodes 1 and 2 apart, both with 3, for 4 s", gap_ms_max=8_000, errors_max=40)
        cluster.wait_until_whole()


def packets_lost(world):
    with world.cluster() as cluster:
        with Load(cluster) as load, before_and_after():
            for number in (1, 2, 3):
                cluster.network.lose(number, 0.2)
            time.sleep(5)
            cluster.network.heal()
        world.check(load, "a fifth of the packets lost for 5 s", gap_ms_max=10_000, errors_max=40)


def clocks_jump(world):
    with world.cluster(clocks=True) as cluster:
        with Load(cluster) as load:
            time.sleep(1)
            client = cluster.client(2)
            assert client.set("lock", "me", nx=True, px=60_000)
            for number, seconds in ((1, 86_400), (2, -86_400), (3, 3_600)):
                cluster.set_clock(number, seconds)
            time.sleep(2)
            cluster.kill(1)
            time.sleep(2)
            assert client.set("lock", "you", nx=True, px=60_000) is None, "a lock ended early by a wall clock"
            assert 45_000 < client.pttl("lock") <= 60_000
        world.check(load, "wall clocks a day apart, node 1 killed")


def restarted_without_memory(world):
    with world.cluster() as cluster:
        with Load(cluster) as load, before_and_after():
            for number in (1, 2, 3, 1):
                cluster.kill(number)
                time.sleep(0.7)
                cluster.start(number)
                cluster.wait_until_whole()
        world.check(load, "each killed and back without memory", gap_ms_max=4_000)


def restarted_with_disk(world):
    with world.cluster(data=True, flags=["--appendonly", "yes", "--appendfsync", "everysec"]) as cluster:
        with Load(cluster) as load, before_and_after():
            for number in (1, 2, 3):
                cluster.kill(number)
                time.sleep(0.7)
                cluster.start(number)
                cluster.wait_until_whole()
        world.check(load, "each killed and back with its disk", gap_ms_max=4_000)


def disk_full(world):
    flags = ["--appendonly", "yes", "--appendfsync", "everysec"]
    with world.cluster(data=True, flags=flags, disk_bytes={1: 24 << 20}) as cluster:
        with Load(cluster, nodes=[2, 3]) as load, before_and_after():
            filler = cluster.client(2)
            for number in range(60):
                filler.set(f"filler:{number}", b"x" * (1 << 20))
                if cluster.processes[1].poll() is not None:
                    break
            assert cluster.wait_for_end(1, 20) != 0
        world.check(load, "node 1's disk full", gap_ms_max=5_000)
        assert "No space left" in cluster.log(1) or "disk" in cluster.log(1), cluster.log(1)[-500:]


def all_killed_with_disk(world):
    with world.cluster(data=True, flags=["--appendonly", "yes", "--appendfsync", "always"]) as cluster:
        with Load(cluster, workers=6) as load:
            time.sleep(BEFORE_SECONDS)
            for process in cluster.processes.values():
                process.kill()
            for number in (1, 2, 3):
                cluster.kill(number)
            for number in (1, 2, 3):
                cluster.start(number)
            cluster.wait_until_whole()
            time.sleep(AFTER_SECONDS)
        world.check(load, "all killed at once, every write on disk", gap_ms_max=None, errors_max=100)


def all_killed_without_disk(world):
    with world.cluster() as cluster:
        cluster.client(1).set("k", "v")
        for number in (1, 2, 3):
            cluster.kill(number)
        cluster.start(1, join=False)
        until("the new cluster's first node", lambda: cluster.client(1).ping())
        for number in (2, 3):
            cluster.start(number)
        cluster.wait_until_whole()
        # A cluster without disks that is killed whole begins anew, empty; it does not pretend.
        assert cluster.client(3).get("k") is None and cluster.client(2).set("k", "new")


def five_lose_two(world):
    with world.cluster(5, flags=["--replicas", "5"]) as cluster:
        with Load(cluster, nodes=[3, 4, 5]) as load, before_and_after():
            cluster.kill(1)
            cluster.kill(2)
        world.check(load, "two of five killed at once")


class ClusterAware:
    """A cluster-aware client that sets keys, again and again, and reads each back at the end."""

    def __init__(self, cluster):
        self.client = RedisCluster(host=address(1), port=PORT + 1000, socket_timeout=15)
        self.cluster, self.ending, self.errors, self.last = cluster, threading.Event(), [], {}
        self.thread = threading.Thread(target=self.work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def work(self):
        number = 0
        while not self.ending.is_set():
            number += 1
            key = f"aware:{number % 200}"
            try:
                assert self.client.set(key, number) is True
                self.last[key] = number
            except redis.RedisError as error:
                self.errors.append(repr(error))

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join(timeout=30)
        assert not self.thread.is_alive(), "the cluster-aware client got no reply"
        assert not self.errors, self.errors[:5]
        lost = [key for key, value in self.last.items() if int(self.client.get(key)) != value]
        assert not lost and len(self.last) == 200, f"{len(lost)} of {len(self.last)} keys: {lost[:5]}"


def grown_and_shrunk(world):
    """Three nodes become five and three again, one of them killed in the middle of a move."""
    value = b"v" * 1024
    with world.cluster(3, flags=["--move-bandwidth", "20mb"], room=2) as cluster:
        pipe = cluster.client(1).pipeline(transaction=False)
        for number in range(40_000):
            pipe.set(f"filler:{number}", value)
            if number % 500 == 499:
                pipe.execute()
        with Load(cluster, nodes=[1, 3]) as load, ClusterAware(cluster), before_and_after():
            cluster.start(4)
            until("shards to move", lambda: 0 < cluster.status(1)["replicas_to_move"] < 40)
            cluster.kill(2)
            time.sleep(0.7)
            cluster.start(2)
            cluster.start(5)
            until("five nodes to hold all", lambda: cluster.is_placed(1, [1, 2, 3, 4, 5]), 60)
            # Leaders and the founder go, too.
            for number in (1, 2):
                done = cluster.torc_at(4, "node", "drain", str(number))
                assert "may be stopped" in done, done
            until("three nodes to hold all", lambda: cluster.is_placed(3, [3, 4, 5]), 60)
            assert "Done" in cluster.torc_at(3, "node", "remove", "2")
            assert cluster.wait_for_end(2, 10) == 0
        world.check(load, "3 to 5 to 3 nodes, one killed in a move")
        client = cluster.client(5)
        kept = sum(client.strlen(f"filler:{number}") == len(value) for number in range(0, 40_000, 97))
        assert kept == len(range(0, 40_000, 97)), kept
        used = [cluster.client(number).info("memory")["used_memory"] for number in (1, 5)]
        assert used[0] < used[1] / 10, f"a drained node keeps its memory: {used}"


def everything_answered(world):
    """All that waits is answered: at rest, over a leader's death, and while leaders change places."""
    with world.cluster() as cluster:
        with Mixture(cluster, [1, 3]) as mixture:
            time.sleep(4)
            cluster.kill(2)
            time.sleep(2)
            cluster.start(2)
            cluster.wait_until_whole()
            time.sleep(1)
        mixture.check("nothing, a leader killed and back")


SCENARIOS = [
    quiet,
    everything_answered,
    leader_killed,
    leader_of_everything_killed,
    paused,
    rolling_restart,
    minority_cut_off,
    cut_one_way,
    partial_partition,
    packets_lost,
    clocks_jump,
    restarted_without_memory,
    restarted_with_disk,
    disk_full,
    all_killed_with_disk,
    all_killed_without_disk,
    five_lose_two,
    grown_and_shrunk,
    counters_behind_locks,
    queue_loses_nothing,
    redisson_lock_outlives_its_leader,
    redisson_locks_change_hands,
    celery_loses_no_task,
    rq_loses_no_job,
]
