"""Worker processes of Celery and RQ, while the leader of their queue dies: each task is carried out, and none is lost.

A task says in a file, outside of the store, that it was carried out. Workers and whoever feeds them are connected to nodes that
live on; that one's own node dies is the story of the locks and of the plain queues."""

import collections
import os
import tempfile
import time
import uuid

import rq

import jobs
import queues
from network import address
from nodes import PORT, until

SECONDS_MAX = 60
# Celery's own.
QUEUE = "celery"
TASKS = 300
TASK_SECONDS = 0.02
# Before the kill, and at least after it.
BEFORE_TASKS = 60
# Between two tasks that end: an election and a margin for a busy machine.
PAUSE_MS_MAX = 3_000
# One job is under way all the time, from before the kill until after the election.
LONG_JOB_SECONDS = 6.0


class Record:
    """The file: which tasks were carried out, and when."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "record")
        with open(self.path, "w", encoding="ascii"):
            pass

    def lines(self):
        with open(self.path, encoding="ascii") as file:
            return [(int(number), float(at)) for number, at in (line.split() for line in file.read().splitlines())]

    def counts(self):
        return collections.Counter(number for number, _ in self.lines())

    def longest_pause_ms(self, since, until):
        """Between two tasks that ended in this time, which is the machine's monotonic clock's, in seconds."""
        times = sorted(at for _, at in self.lines() if since <= at <= until)
        return max(after - before for before, after in zip(times, times[1:])) * 1000


def survivors(cluster, leader):
    return [number for number in range(1, cluster.count + 1) if number != leader]


def celery_loses_no_task(world):
    """Tasks with acks_late are put in while workers carry them out, and the queue's leader is killed again and again."""
    with world.cluster() as cluster, tempfile.TemporaryDirectory() as directory:
        record = Record(directory)
        leader = until("the queue's leader", lambda: cluster.leader(QUEUE))
        jobs.configure(PORT, ",".join(address(number) for number in survivors(cluster, leader)))
        # A message of which it is not known whether it arrived is sent again.
        patience = {"max_retries": 20, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.5}
        worker = ["celery", "--app", "jobs", "worker", "--pool", "prefork", "--concurrency", "2", "--loglevel", "WARNING"]
        results, pauses_ms = [], []
        with queues.processes(PORT, worker):
            for lap in range(world.failovers()):
                begun = time.monotonic()
                for number in range(lap * TASKS, (lap + 1) * TASKS):
                    results.append(jobs.written_down.apply_async((record.path, number, TASK_SECONDS), retry_policy=patience))
                    if number == lap * TASKS + BEFORE_TASKS:
                        until("tasks before the kill", lambda: len(record.lines()) >= lap * TASKS + BEFORE_TASKS // 2)
                        assert until("the same leader", lambda: cluster.leader(QUEUE)) == leader
                        cluster.kill(leader)
                until("all tasks", lambda: len(record.counts()) == (lap + 1) * TASKS, SECONDS_MAX)
                pauses_ms.append(record.longest_pause_ms(begun, time.monotonic()))
                cluster.start(leader)
                cluster.wait_until_whole()
            assert [result.get(timeout=SECONDS_MAX) for result in results] == list(range(len(results)))
        judge(record, len(results), pauses_ms, "Celery", twice_max=None)


def rq_loses_no_job(world):
    """Jobs are carried out by two workers, one of them long, and the queue's leader is killed in the middle of them."""
    with world.cluster() as cluster, tempfile.TemporaryDirectory() as directory:
        record = Record(directory)
        name, key = "default", "rq:queue:default"
        leader = until("the queue's leader", lambda: cluster.leader(key))
        hosts = [address(number) for number in survivors(cluster, leader)]
        jobs.configure(PORT, ",".join(hosts))
        connection = cluster.client(survivors(cluster, leader)[0], db=8)
        queue = rq.Queue(name, connection=connection)
        workers = [["rq", "worker", "--url", f"redis://{host}:{PORT}/8", "--name", f"{name}{host}", "--quiet", name] for host in hosts]

        def enqueue(number, seconds):
            return queue.enqueue(jobs.write_down, record.path, number, seconds, job_id=str(uuid.uuid4()))

        done, pauses_ms = [], []
        with queues.processes(PORT, *workers):
            for lap in range(world.failovers()):
                first, begun = len(done), time.monotonic()
                done.append(enqueue(first, LONG_JOB_SECONDS))
                done += [enqueue(number, TASK_SECONDS) for number in range(first + 1, first + BEFORE_TASKS)]
                until("jobs before the kill", lambda: len(record.lines()) >= first + 5)
                assert done[first].get_status(refresh=True) == "started", "the long job is not under way"
                assert until("the same leader", lambda: cluster.leader(key)) == leader
                cluster.kill(leader)
                until("all jobs", lambda: len(record.counts()) == len(done), SECONDS_MAX)
                pauses_ms.append(record.longest_pause_ms(begun, time.monotonic()))
                until("all to be finished", lambda: all(job.get_status(refresh=True) == "finished" for job in done[first:]))
                cluster.start(leader)
                cluster.wait_until_whole()
            assert [job.return_value(refresh=True) for job in done] == list(range(len(done)))
            assert queue.count == 0 and len(queue.finished_job_registry) == len(done) and len(queue.failed_job_registry) == 0
            assert len(rq.registry.StartedJobRegistry(queue=queue)) == 0
        judge(record, len(done), pauses_ms, "RQ", twice_max=0)


def judge(record, count, pauses_ms, what, twice_max):
    """Every task is there; `twice_max` limits how many may have been carried out more than once (late acknowledgement repeats what
    is unsure)."""
    counts, longest = record.counts(), max(pauses_ms)
    lost = set(range(count)) - set(counts)
    twice = [number for number, times in counts.items() if times > 1]
    print(f"    {what}, {len(pauses_ms)} leaders killed: {count} tasks, {len(lost)} lost, {len(twice)} more than once, longest pause between two {longest:.0f} ms",
          flush=True)
    assert not lost and set(counts) <= set(range(count)), f"lost: {sorted(lost)[:10]}"
    assert twice_max is None or len(twice) <= twice_max, f"carried out twice: {twice[:10]}"
    assert longest <= PAUSE_MS_MAX, f"no task ended for {longest:.0f} ms"
