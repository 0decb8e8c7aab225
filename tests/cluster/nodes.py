"""Torc's processes, one in each namespace of a network."""

import json
import os
import signal
import subprocess
import tempfile
import time

import redis

from network import Network, address

PORT = 6379
START_SECONDS = 20
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


def until(what, condition, seconds=START_SECONDS):
    """Asks again until it holds; what it last gave."""
    end = time.monotonic() + seconds
    while True:
        try:
            last = condition()
        except (redis.RedisError, OSError) as error:
            last = None
            why = repr(error)
        else:
            why = repr(last)
        if last:
            return last
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for {what}: {why[:300]}")
        time.sleep(0.02)


class Cluster:
    """`count` nodes that form one cluster, with room for `room` more to be started. `flags` go to every node; `data` gives
    each a directory for its log."""

    def __init__(self, torc, hub, count, flags=(), data=False, disk_bytes=None, clocks=False, room=0):
        self.torc = torc
        self.count = count
        self.network = Network(hub, count + room)
        self.directory = tempfile.TemporaryDirectory(prefix="torc-cluster-")
        self.flags = list(flags)
        self.data = data
        self.disk_bytes = disk_bytes or {}
        self.clocks = clocks
        self.replicas = int(self.flags[self.flags.index("--replicas") + 1]) if "--replicas" in self.flags else 3
        self.processes = {}
        self.mounts = []
        for number, size in self.disk_bytes.items():
            path = self.data_path(number)
            os.makedirs(path)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=True)
            self.mounts.append(path)

    def __enter__(self):
        try:
            self.start(1)
            for number in range(2, self.count + 1):
                self.start(number)
                # One after the other, so that a node's id is its number.
                until(f"node {number} to join", lambda: len(self.status(1)["nodes"]) == number)
            self.wait_until_whole()
        except BaseException:
            self.print_logs()
            self.close()
            raise
        return self

    def __exit__(self, kind, error, trace):
        if error is not None:
            self.print_logs()
        self.close()

    def data_path(self, number):
        return os.path.join(self.directory.name, f"data{number}")

    def log_path(self, number):
        return os.path.join(self.directory.name, f"log{number}")

    def clock_path(self, number):
        return os.path.join(self.directory.name, f"clock{number}")

    def start(self, number, join=True):
        """Starts a node. All but the first life of node 1 join the others."""
        first = number == 1 and number not in self.processes
        command = ["ip", "netns", "exec", self.network.name(number)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TORC_")}
        if self.clocks:
            self.set_clock(number, 0)
            environment |= {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": self.clock_path(number),
                            "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        command += [self.torc, "serve", "--bind", address(number), "--port", str(PORT), "--protected-mode", "no"]
        if join and not first:
            others = [f"{address(other)}:{PORT}" for other in sorted({*range(1, self.count + 1), *self.processes})
                      if other != number]
            command += ["--join", ",".join(others)]
        if self.data:
            os.makedirs(self.data_path(number), exist_ok=True)
            command += ["--dir", self.data_path(number)]
        command += self.flags
        with open(self.log_path(number), "ab") as log:
            self.processes[number] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                      env=environment)
        if first:
            # Whoever joins must find somebody.
            until("the first node's PING", lambda: self.client(number).ping())

    def set_clock(self, number, seconds):
        with open(self.clock_path(number), "w", encoding="ascii") as clock:
            clock.write(f"{seconds:+d}")

    def kill(self, number):
        self.processes[number].kill()
        self.processes[number].wait()

    def stop(self, number):
        self.processes[number].terminate()
        self.processes[number].wait(timeout=10)

    def signal(self, number, name):
        self.processes[number].send_signal(getattr(signal, name))

    def wait_for_end(self, number, seconds):
        return self.processes[number].wait(timeout=seconds)

    def client(self, number, **settings):
        settings = {"socket_timeout": 15, "socket_connect_timeout": 2} | settings
        return redis.Redis(host=address(number), port=PORT, retry=None, **settings)

    def status(self, number):
        """What TORC STATUS says on this node."""
        return json.loads(self.client(number, socket_timeout=2).execute_command("TORC STATUS"))

    def is_whole(self, number, live):
        """Whether by this node's word all live nodes have joined, all shards are led, and what it leads itself is whole."""
        status = self.status(number)
        alive = sum(node["alive"] for node in status["nodes"])
        is_settled = status["groups_short"] == 0 and status["shards_misled"] == 0
        voters = min(live if live % 2 else live - 1, self.replicas)
        return (alive == live and status["shards_without_leader"] == 0
                and (is_settled or len(status["nodes"]) > live)
                and all(len(shard["voters"]) >= voters for shard in status["shards"] if shard["voters"]))

    def live(self):
        return [number for number, process in self.processes.items() if process.poll() is None]

    def wait_until_whole(self, seconds=30):
        live = self.live()
        for number in live:
            until(f"node {number} to see a whole cluster", lambda: self.is_whole(number, len(live)), seconds)

    def torc_at(self, number, *words):
        """What `torc …`, asked at a node, prints; it must not fail."""
        command = ["ip", "netns", "exec", self.network.name(number), self.torc, *words, "--at", f"{address(number)}:{PORT}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout} {done.stderr}"
        return done.stdout

    def is_placed(self, number, holders):
        """Whether by this node's word every shard is held by three of these nodes, and nothing is to move."""
        status = self.status(number)
        return (status["replicas_to_move"] == 0 and status["shards_without_leader"] == 0
                and all(len(shard["voters"]) == 3 and set(shard["voters"]) <= set(holders) for shard in status["shards"])
                and {voter for shard in status["shards"] for voter in shard["voters"]} == set(holders))

    def leads(self, number):
        """How many shards the node leads, by its own word."""
        status = self.status(number)
        return next(node["leads"] for node in status["nodes"] if node["node"] == status["node"])

    def leader(self, key):
        """The node that leads the key's shard, or none: the others send cluster-aware clients to it."""
        for number in self.live():
            try:
                redis.Redis(host=address(number), port=PORT + 1000, retry=None, socket_timeout=2).exists(key)
                return number
            except (redis.exceptions.MovedError, redis.ConnectionError):
                pass
        return None

    def log(self, number):
        with open(self.log_path(number), encoding="utf-8", errors="replace") as log:
            return log.read()

    def print_logs(self):
        for number in self.processes:
            print(f"--- log of node {number}, the last of it ---\n{self.log(number)[-3000:]}", flush=True)

    def close(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        self.network.close()
        for path in self.mounts:
            subprocess.run(["umount", path], check=False)
        self.directory.cleanup()
