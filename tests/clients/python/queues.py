"""Queues of Python's libraries: RQ and Celery with worker processes of their own, and a queue by BLMOVE as Django-Q keeps it."""

import contextlib
import datetime
import os
import subprocess
import sys
import tempfile
import threading
import time

import redis
import rq
from celery import chain, chord, group
from celery.exceptions import TaskRevokedError
from rq.registry import FailedJobRegistry, ScheduledJobRegistry, StartedJobRegistry

import jobs
import report
from lock_scenarios import together

HERE = os.path.dirname(os.path.abspath(__file__))
SECONDS_MAX = 40
JOBS = 200
TASKS = 100


def until(what, condition):
    end = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def processes(port, *commands):
    """Runs these of the environment's own programs; what they print is shown when the scenario fails."""
    environment = os.environ | {"TEST_PORT": str(port), "PYTHONPATH": HERE}
    programs = os.path.dirname(sys.executable)
    started = []
    with tempfile.TemporaryFile("w+") as output:
        try:
            for command in commands:
                command = [os.path.join(programs, command[0]), *command[1:]]
                started.append(subprocess.Popen(command, env=environment, cwd=HERE, stdin=subprocess.DEVNULL, stdout=output,
                                                stderr=output, start_new_session=True))
            yield started
        except BaseException:
            output.seek(0)
            print(output.read()[-4000:], flush=True)
            raise
        finally:
            for process in started:
                process.terminate()
            for process in started:
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def rq_worker(port, name, *options):
    return ["rq", "worker", "--url", f"redis://127.0.0.1:{port}/8", "--name", name, "--quiet", *options, "default"]


def rq_burst(port):
    """Two workers empty a queue; each result is there, and so is the job that failed."""
    r = redis.Redis(port=port, db=8)
    q = rq.Queue(connection=r)
    done = [q.enqueue(jobs.slow_square, number) for number in range(JOBS)]
    bad = q.enqueue(jobs.fail_at_once, "on purpose")
    assert q.count == JOBS + 1 and done[0].get_status() == "queued"
    burst = [rq_worker(port, f"burst{number}", "--burst", "--worker-class", "rq.SimpleWorker") for number in (1, 2)]
    with processes(port, *burst) as workers:
        for worker in workers:
            assert worker.wait(timeout=SECONDS_MAX) == 0
    assert [job.return_value(refresh=True) for job in done] == [number * number for number in range(JOBS)]
    assert q.count == 0 and len(StartedJobRegistry(queue=q)) == 0 and len(q.finished_job_registry) == JOBS
    failed = FailedJobRegistry(queue=q)
    assert failed.get_job_ids() == [bad.id] and bad.get_status(refresh=True) == "failed"
    bad.refresh()
    assert "on purpose" in bad.exc_info
    failed.requeue(bad.id)
    assert q.job_ids == [bad.id] and len(failed) == 0
    r.flushdb()


def rq_waits(port):
    """A worker that waits is fed, with children of its own; with jobs that depend on others, are due later, are taken back."""
    r = redis.Redis(port=port, db=8)
    q = rq.Queue(connection=r)
    with processes(port, rq_worker(port, "waits", "--with-scheduler")):
        until("the worker", lambda: len(rq.Worker.all(connection=r)) == 1)
        until("the worker to wait", lambda: rq.Worker.all(connection=r)[0].get_state() == "idle")
        first = q.enqueue(jobs.square, 3)
        second = q.enqueue(jobs.square, 4, depends_on=first)
        until("both results", lambda: second.return_value(refresh=True) == 16 and first.return_value(refresh=True) == 9)
        later = q.enqueue_in(datetime.timedelta(seconds=1), jobs.square, 5)
        never = q.enqueue_in(datetime.timedelta(hours=1), jobs.square, 6)
        assert later.id in ScheduledJobRegistry(queue=q)
        never.cancel()
        until("the scheduled job", lambda: later.return_value(refresh=True) == 25)
        assert never.get_status(refresh=True) == "canceled" and never.id not in ScheduledJobRegistry(queue=q)
    r.flushdb()


def celery_tasks(port):
    r = redis.Redis(port=port, db=7)
    worker = ["celery", "--app", "jobs", "worker", "--pool", "prefork", "--concurrency", "2", "--loglevel", "WARNING"]
    with processes(port, worker):
        results = [jobs.add.delay(number, number) for number in range(TASKS)]
        assert [result.get(timeout=SECONDS_MAX) for result in results] == [2 * number for number in range(TASKS)]
        assert group(jobs.add.s(number, 1) for number in range(10))().get(timeout=SECONDS_MAX) == list(range(1, 11))
        assert chord((jobs.add.s(number, 0) for number in range(20)), jobs.total.s())().get(timeout=SECONDS_MAX) == 190
        assert chain(jobs.add.s(1, 2), jobs.add.s(10))().get(timeout=SECONDS_MAX) == 13
        try:
            jobs.fail.delay("on purpose").get(timeout=SECONDS_MAX)
            raise AssertionError("a task that fails came back well")
        except ValueError as error:
            assert str(error) == "on purpose"
        assert jobs.second_time.delay().get(timeout=SECONDS_MAX) == 1
        once = [jobs.marked.delay(f"marked:{number}") for number in range(20)]
        assert [result.get(timeout=SECONDS_MAX) for result in once] == [1] * 20
        # Revoked while it waits for its time: the word goes by publish/subscribe to the worker.
        revoked = jobs.marked.apply_async(("revoked",), countdown=3)
        until("the task at the worker", lambda: any(jobs.app.control.inspect(timeout=1).scheduled().values()))
        jobs.app.control.revoke(revoked.id)
        try:
            revoked.get(timeout=SECONDS_MAX)
            raise AssertionError("a revoked task was carried out")
        except TaskRevokedError:
            pass
        assert r.get("revoked") is None
    r.flushdb()


def reliable_queue(port, protocol):
    """Workers that move tasks to a list of their own and remove them when they are done; what a dead one left is put back."""
    r = redis.Redis(port=port, protocol=protocol, socket_timeout=20)
    r.flushall()
    count = 400

    def work(number):
        """Dies with its last task in its hands, but for the last worker."""
        mine, done = f"{{q}}taken:{number}", []
        while True:
            task = r.brpoplpush("{q}tasks", mine, timeout=2) if number % 2 else r.blmove("{q}tasks", mine, 2, "RIGHT", "LEFT")
            if task is None or (number < 2 and len(done) == 20):
                return done
            assert r.lrem(mine, 1, task) == 1
            done.append(int(task))

    feeder = threading.Thread(target=lambda: [r.lpush("{q}tasks", task) for task in range(count)])
    feeder.start()
    done = [task for some in together(6, work) for task in some]
    feeder.join()
    left = [int(task) for number in range(6) for task in r.lrange(f"{{q}}taken:{number}", 0, -1)]
    assert len(left) == 2 and sorted(done + left) == list(range(count)), "a task was lost, or handed out twice"
    for number in range(2):
        assert r.lmove(f"{{q}}taken:{number}", "{q}tasks", "LEFT", "RIGHT") is not None
    assert sorted(int(task) for task in r.rpop("{q}tasks", 10)) == sorted(left) and r.exists("{q}tasks") == 0
    r.close()


def main(port):
    jobs.configure(port)
    report.run("RQ two workers in burst mode", rq_burst, port)
    report.run("RQ a worker that waits", rq_waits, port)
    report.run("Celery", celery_tasks, port)
    for protocol in (2, 3):
        report.run(f"reliable queue RESP{protocol}", reliable_queue, port, protocol)
