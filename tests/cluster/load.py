"""Clients that read, write, add and compare-and-set through any node, and write down what they saw.

The history is what `cargo sim check-history` reads: one JSON object a line, times in microseconds of one clock."""

import json
import random
import threading
import time

import redis

REGISTERS = 12
COUNTERS = 4


def is_broken(error):
    """Whether this WatchError is what redis-py makes of a connection that breaks while keys are watched."""
    return "Error occurred" in str(error)


def now_us():
    return time.monotonic_ns() // 1000


class Workers:
    """Threads that do `work(number)` until `ending`."""

    def __init__(self, count):
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(worker,), daemon=True) for worker in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join(timeout=30)
        assert not any(thread.is_alive() for thread in self.threads), "a client got neither a reply nor an error"


class Load(Workers):
    """`workers` threads, each on a node of its own choice; another node when its node is gone. Named `nodes` live throughout: a
    connection to one of them that breaks is a failure.

    Three more stay with node `cut_off`, if one is named: what they are told must be as true as what the others are, but it
    may come late, and they may be refused.
    """

    def __init__(self, cluster, workers=12, seed=None, nodes=None, cut_off=None):
        super().__init__(workers + (3 if cut_off else 0))
        self.staying_from = workers
        self.cut_off = cut_off
        self.cluster = cluster
        self.seed = seed if seed is not None else random.randrange(1 << 32)
        self.are_lasting = nodes is not None
        self.nodes = nodes or list(range(1, cluster.count + 1))
        self.lines = [[] for _ in self.threads]
        self.errors = []

    def work(self, worker):
        lot = random.Random(f"{self.seed}/{worker}")
        stays = worker >= self.staying_from
        nodes = [self.cut_off] if stays else self.nodes
        at = worker % len(nodes)
        process = worker
        client = None
        number = 0
        while not self.ending.is_set():
            if client is None:
                client = self.cluster.client(nodes[at], protocol=lot.choice([2, 3]), socket_connect_timeout=0.5)
            number += 1
            line = self.draw(lot, worker, number)
            line |= {"process": process, "call": now_us(), "stays": stays}
            try:
                self.ask(client, line)
                line["ok"] = True
            except (redis.ConnectionError, redis.WatchError) as error:
                # Refused before anything was sent, or lost with the answer open.
                line["ok"] = False
                line["error"] = type(error).__name__
                if "refused" in str(error) or "connecting" in str(error) or "No route" in str(error):
                    line["refused"] = True
                if self.are_lasting and not stays:
                    self.errors.append((now_us(), nodes[at], line["op"], str(error)))
                client.close()
                client = None
                at = (at + 1) % len(nodes)
            except (redis.RedisError, OSError) as error:
                line["ok"] = False
                line["error"] = f"{type(error).__name__}: {error}"
                if not stays:
                    self.errors.append((now_us(), nodes[at], line["op"], line["error"]))
                client.close()
                client = None
            line["return"] = now_us() if line["ok"] or line.get("refused") else None
            if line["return"] is None:
                # The outcome is open: what the thread does next, another process does.
                process += len(self.threads)
            self.lines[worker].append(line)
            if line["ok"] is False:
                time.sleep(0.01)

    def draw(self, lot, worker, number):
        if lot.random() < 0.2:
            return {"key": f"counter:{lot.randrange(COUNTERS)}", "op": "incr", "value": lot.randrange(1, 4)}
        key = f"register:{lot.randrange(REGISTERS)}"
        kind = lot.random()
        if kind < 0.45:
            return {"key": key, "op": "read"}
        if kind < 0.85:
            return {"key": key, "op": "write", "value": f"{worker}-{number}"}
        return {"key": key, "op": "cas", "value": f"{worker}-{number}"}

    def ask(self, client, line):
        key = line["key"]
        if line["op"] == "read":
            line["result"] = text(client.get(key))
        elif line["op"] == "write":
            assert client.set(key, line["value"]) is True
        elif line["op"] == "incr":
            line["result"] = client.incrby(key, line["value"])
        else:
            self.compare_and_set(client, line)

    def compare_and_set(self, client, line):
        with client.pipeline(transaction=True) as pipe:
            pipe.watch(line["key"])
            line["expected"] = text(pipe.get(line["key"]))
            pipe.multi()
            pipe.set(line["key"], line["value"])
            try:
                pipe.execute()
                line["result"] = True
            except redis.WatchError as error:
                if is_broken(error):
                    raise
                # It may have changed and changed back; only that it did not swap is sure. A read says as much.
                line["op"] = "none"

    def history(self):
        lines = [line for worker in self.lines for line in worker if line["op"] != "none"]
        # A compare-and-set that broke before it had read what it was to compare did nothing.
        return sorted((line for line in lines if line["op"] != "cas" or "expected" in line), key=lambda l: l["call"])

    def write(self, path):
        with open(path, "w", encoding="utf-8") as file:
            for line in self.history():
                kept = {name: line[name] for name in ("process", "key", "op", "value", "expected", "call", "return",
                                                      "ok", "result") if name in line}
                file.write(json.dumps(kept) + "\n")

    def answered(self):
        return sum(line["ok"] for line in self.history())

    def answered_there(self):
        """How often the node that was cut off answered."""
        return sum(line["ok"] for line in self.history() if line["stays"])

    def gap_ms(self):
        """The longest time in which no write at all was answered, and the longest of a single key's writes."""
        lines = [line for line in self.history() if not line["stays"]]
        writes = [line for line in lines if line["op"] in ("write", "incr") and line["ok"]]
        every = sorted(line["return"] for line in writes)
        longest = max((b - a for a, b in zip(every, every[1:])), default=0)
        single = max((line["return"] - line["call"] for line in writes), default=0)
        return longest / 1000, single / 1000


def text(value):
    return None if value is None else value.decode() if isinstance(value, bytes) else value
