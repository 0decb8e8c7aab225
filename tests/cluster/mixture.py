"""Clients that ask for everything that makes a connection wait for another thread, node or client: whatever happens to the
cluster, each request is answered, and soon.

What the replies are is others' business (`load.py`, the differential test, the real clients); here a reply that does not
come is a fault, and so is an error that a client of Redis would not expect."""

import random
import time

import redis

from load import Workers

KEYS = 40
SECONDS_MAX = 3


class Mixture(Workers):
    """`workers` threads, each with two connections to nodes of its choice."""

    def __init__(self, cluster, nodes, workers=12):
        super().__init__(workers)
        self.cluster, self.nodes = cluster, nodes
        self.errors, self.slow, self.counts = [], [], [0] * workers

    def check(self, what):
        print(f"    {what}: {sum(self.counts)} requests of all kinds, {len(self.errors)} failed, "
              f"{len(self.slow)} took over {SECONDS_MAX} s", flush=True)
        assert not self.errors, self.errors[:5]
        assert not self.slow, self.slow[:5]
        assert sum(self.counts) > 500, "too little was asked"

    def work(self, worker):
        lot = random.Random(worker)
        asker = None
        while not self.ending.is_set():
            if asker is None:
                asker = Asker(worker, lot, *(self.cluster.client(lot.choice(self.nodes), protocol=lot.choice([2, 3]),
                                                                 socket_connect_timeout=0.5) for _ in range(2)))
            kind = lot.choice(KINDS)
            since = time.monotonic()
            try:
                kind(asker)
            except (redis.RedisError, AssertionError) as error:
                self.errors.append((kind.__name__, f"{type(error).__name__}: {error}"))
                asker = None
            took = time.monotonic() - since
            if took > SECONDS_MAX:
                self.slow.append((kind.__name__, round(took, 2)))
            self.counts[worker] += 1


class Asker:
    """One way to wait a function; `one` asks, `other` does what it waits for."""

    def __init__(self, worker, lot, one, other):
        self.worker, self.lot, self.one, self.other = worker, lot, one, other

    def key(self, kind="k"):
        return f"{kind}{self.lot.randrange(KEYS)}"

    def watched(self):
        with self.one.pipeline() as pipe:
            pipe.watch(self.key())
            pipe.multi()
            pipe.set(self.key(), 1)
            pipe.incr(self.key("n"))
            try:
                pipe.execute()
            except redis.WatchError:
                pass

    def transaction(self):
        with self.one.pipeline() as pipe:
            pipe.set(self.key(), 1).get(self.key()).set(self.key(), 2).execute()

    def pipelined(self):
        pipe = self.one.pipeline(transaction=False)
        pipe.get(self.key()).set(self.key(), 2).mget([self.key() for _ in range(5)]).get(self.key()).execute()

    def popped(self):
        queue = f"q{self.worker}"
        self.other.rpush(queue, 1)
        assert tuple(self.one.blpop([f"empty{self.worker}", queue], 10)) == (queue.encode(), b"1")

    def moved(self):
        queue = f"from{self.worker}"
        self.other.rpush(queue, 1)
        assert self.one.blmove(queue, f"to{self.worker}", 10) == b"1"
        self.other.delete(f"to{self.worker}")

    def not_popped(self):
        assert self.one.blpop(f"empty{self.worker}", 0.05) is None

    def read_stream(self):
        stream = f"s{self.worker}"
        self.other.xadd(stream, {"field": 1}, maxlen=10)
        assert self.one.xread({stream: "0"}, block=10_000)

    def locked(self):
        name, owner = f"lock{self.lot.randrange(3)}", f"owner{self.worker}"
        if self.one.execute_command("LOCK.ACQUIRE", name, owner, 2000, "WAIT", 1000) is not None:
            self.one.execute_command("LOCK.RELEASE", name, owner)

    def script(self):
        source = "redis.call('set', KEYS[1], ARGV[1]) return redis.call('get', KEYS[1])"
        assert self.one.eval(source, 1, self.key(), "v") == b"v"

    def script_over_shards(self):
        self.one.eval("redis.call('set', KEYS[1], ARGV[1]) return redis.call('exists', KEYS[2])", 2, self.key(), self.key(), "v")

    def heard(self):
        channel = f"channel{self.worker}"
        with self.one.pubsub() as pubsub:
            pubsub.subscribe(channel)
            assert pubsub.get_message(timeout=10)["type"] == "subscribe"
            # A node that has just come or gone may not have heard of the subscription yet.
            until = time.monotonic() + 2
            while self.other.publish(channel, "x") == 0 and time.monotonic() < until:
                time.sleep(0.01)
            assert pubsub.get_message(timeout=10)["type"] == "message"

    def renamed(self):
        self.one.set(f"old{self.worker}", 1)
        assert self.one.rename(f"old{self.worker}", f"new{self.lot.randrange(KEYS)}") is True

    def set_where_none_is(self):
        self.one.msetnx({self.key("x"): 1, self.key("x"): 1})
        self.one.delete(self.key("x"), self.key("x"))

    def several(self):
        self.one.mset({self.key(): 1 for _ in range(5)})
        assert len(self.one.mget([self.key() for _ in range(9)])) == 9

    def all_shards(self):
        self.one.scan(0, count=20)
        self.one.dbsize()
        self.one.randomkey()
        self.one.keys("lock*")

    def held_by_others(self):
        self.one.set(self.key(), 1)
        assert self.one.wait(1, 2000) >= 1

    def plain(self):
        self.one.set(self.key(), 1)
        self.one.get(self.key())
        self.one.incr(self.key("n"))


KINDS = [Asker.watched, Asker.transaction, Asker.pipelined, Asker.popped, Asker.moved, Asker.not_popped, Asker.read_stream,
         Asker.locked, Asker.script, Asker.script_over_shards, Asker.heard, Asker.renamed, Asker.set_where_none_is,
         Asker.several, Asker.all_shards, Asker.held_by_others, Asker.plain]
