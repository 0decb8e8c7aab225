"""A queue whose leader dies again and again: producers RPUSH unique numbers, consumers take them by BLMOVE or BLPOP.

A consumer with BLMOVE removes a number from its own list when it has done it; what is left there when the cluster is at rest was
handed out, and its answer lost. So each number that RPUSH acknowledged is done once or left in a list: none is lost, none twice.
With BLPOP a number may be lost with the answer of a node that dies, never be handed out twice."""

import collections
import threading
import time

import redis

from network import address
from nodes import PORT, until

# All names lie in one shard, so that each failover hits the whole queue.
SHARD = "{queue}"
PRODUCERS = 3
CONSUMERS = 6
# How long a consumer waits for a number.
WAIT_SECONDS = 2
PRODUCER_PAUSE_SECONDS = 0.002
# Numbers taken before and after each failover.
BETWEEN_TAKEN = 150
# Between two numbers that are handed out: an election and a margin for a busy machine.
PAUSE_MS_MAX = 3_000
SECONDS_MAX = 60


class Client:
    """Through any node; another one when its node is gone."""

    def __init__(self, number, nodes):
        self.at, self.nodes = number % nodes, nodes
        self.connection = None
        self.errors = 0

    def ask(self, command, *words):
        """The answer, or the error."""
        if self.connection is None:
            self.connection = redis.Redis(host=address(self.at + 1), port=PORT, protocol=3, retry=None, socket_timeout=15,
                                          socket_connect_timeout=0.5)
        try:
            return getattr(self.connection, command)(*words)
        except redis.RedisError as error:
            self.errors += 1
            self.connection.close()
            self.connection, self.at = None, (self.at + 1) % self.nodes
            time.sleep(0.02)
            return error


class Queue:
    """One kind of queue, and what its clients saw."""

    def __init__(self, name, nodes):
        self.name, self.nodes = name, nodes
        self.tasks = f"{SHARD}{name}"
        self.acknowledged, self.unsure, self.taken, self.wrong = set(), set(), [], []
        self.taken_at = []
        self.stopped_producing, self.ending = threading.Event(), threading.Event()
        self.clients = [Client(number, nodes) for number in range(PRODUCERS + CONSUMERS)]
        self.threads = [threading.Thread(target=self.guarded, args=(self.produce, number), daemon=True)
                        for number in range(PRODUCERS)]
        self.threads += [threading.Thread(target=self.guarded, args=(self.consume, number), daemon=True)
                         for number in range(PRODUCERS, PRODUCERS + CONSUMERS)]

    def guarded(self, work, number):
        try:
            work(number, self.clients[number])
        except Exception as error:  # the judge tells it
            self.wrong.append(repr(error))

    def produce(self, number, client):
        unique = number
        while not self.stopped_producing.is_set():
            unique += PRODUCERS
            answer = client.ask("rpush", self.tasks, unique)
            (self.unsure if isinstance(answer, Exception) else self.acknowledged).add(unique)
            time.sleep(PRODUCER_PAUSE_SECONDS)

    def mine(self, number):
        return f"{SHARD}{self.name}:taken:{number}"

    def consume(self, number, client):
        while not self.ending.is_set():
            if self.name == "moved":
                answer = client.ask("blmove", self.tasks, self.mine(number), WAIT_SECONDS, "LEFT", "RIGHT")
                got = answer if isinstance(answer, bytes) else None
                if got is not None:
                    # Asked again it finds nothing, if only the answer was lost.
                    until("a number to be removed", lambda: isinstance(client.ask("lrem", self.mine(number), 1, got), int))
            else:
                answer = client.ask("blpop", self.tasks, WAIT_SECONDS)
                got = answer[1] if isinstance(answer, (list, tuple)) else None
            if got is not None:
                self.taken.append(int(got))
                self.taken_at.append(time.monotonic())

    def longest_pause_ms(self):
        """Between two numbers that were taken."""
        times = sorted(self.taken_at)
        return max(after - before for before, after in zip(times, times[1:])) * 1000

    def judge(self, client, what):
        """Once all is at rest."""
        assert not self.wrong, self.wrong
        left = [int(one) for number in range(PRODUCERS, PRODUCERS + CONSUMERS)
                for one in client.lrange(self.mine(number), 0, -1)]
        waiting = [int(one) for one in client.lrange(self.tasks, 0, -1)]
        seen = collections.Counter(self.taken + left + waiting)
        twice = [one for one, count in seen.items() if count > 1]
        lost = self.acknowledged - set(seen)
        errors = sum(each.errors for each in self.clients)
        print(f"    {self.name}: {len(self.acknowledged)} acknowledged, {len(self.taken)} taken, {len(left)} handed out without an "
              f"answer, {len(lost)} lost, {len(twice)} twice, {errors} errors, {what}", flush=True)
        assert not twice, f"handed out twice: {twice[:10]}"
        assert set(seen) <= self.acknowledged | self.unsure, "a number that nobody pushed"
        assert not waiting, f"{len(waiting)} numbers are still there, though consumers wait"
        # With BLPOP an answer that was on its way from a dead node is gone, as with Redis: at most one an error.
        assert len(lost) <= (0 if self.name == "moved" else errors), f"acknowledged and lost: {sorted(lost)[:10]}"


def wait_for_taken(queues, what):
    """Until so much was taken from every queue since now."""
    before = {queue.name: len(queue.taken) for queue in queues}
    until(f"numbers taken {what}",
          lambda: all(len(queue.taken) >= before[queue.name] + BETWEEN_TAKEN for queue in queues), SECONDS_MAX)


def fail_over(cluster, queues):
    """Kills who leads, and lets the clients work without it; then it comes back empty."""
    wait_for_taken(queues, "before a failover")
    number = until("a leader of the queue", lambda: cluster.leader(SHARD))
    cluster.kill(number)
    wait_for_taken(queues, "after a failover")
    assert until("a new leader of the queue", lambda: cluster.leader(SHARD)) != number
    cluster.start(number)
    cluster.wait_until_whole()


def queue_loses_nothing(world):
    """Numbers go through two queues while the node that leads them is killed."""
    with world.cluster() as cluster:
        queues = [Queue(name, cluster.count) for name in ("moved", "popped")]
        for queue in queues:
            for thread in queue.threads:
                thread.start()
        for _ in range(world.failovers()):
            fail_over(cluster, queues)
        for queue in queues:
            queue.stopped_producing.set()
        client = until("a node", lambda: cluster.client(1))
        until("the queues to be empty", lambda: not client.exists(*(queue.tasks for queue in queues)))
        for queue in queues:
            queue.ending.set()
        for queue in queues:
            for thread in queue.threads:
                thread.join(timeout=20)
                assert not thread.is_alive(), "a client got no answer"
        for queue in queues:
            longest = queue.longest_pause_ms()
            queue.judge(client, f"{world.failovers()} leaders killed, longest pause of a hand-over {longest:.0f} ms")
            assert longest <= PAUSE_MS_MAX, f"{queue.name}: no number for {longest:.0f} ms"
