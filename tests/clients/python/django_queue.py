"""Django-Q's queue of tasks: a cluster of its workers takes them by BLPOP; results come back by database and by cache."""

import redis
from django.core.management import call_command

import jobs
import report
from queues import SECONDS_MAX, processes, until

TASKS = 100
WAIT_MS = SECONDS_MAX * 1000


def tasks_and_results(port):
    from django_q.models import Task
    from django_q.status import Stat
    from django_q.tasks import AsyncTask, Chain, async_iter, async_task, fetch, queue_size, result

    call_command("migrate", verbosity=0)
    r = redis.Redis(port=port, db=4)
    # What is asked before there is a worker waits in the list.
    early = async_task(jobs.square, 3)
    assert queue_size() == 1 and r.llen("django_q:site:q") == 1
    with processes(port, ["django-admin", "qcluster"]):
        assert result(early, wait=WAIT_MS) == 9
        until("the cluster's own word", lambda: len(Stat.get_all()) == 1)
        assert len(Stat.get_all()[0].workers) == 2
        done = [async_task(jobs.square, number, group="squares") for number in range(TASKS)]
        until("all tasks", lambda: Task.objects.filter(id__in=done, success=True).count() == TASKS)
        assert sorted(Task.get_result_group("squares")) == [number * number for number in range(TASKS)]
        cached = [async_task(jobs.square, number, cached=60) for number in range(20)]
        assert [result(task, wait=WAIT_MS, cached=True) for task in cached] == [number * number for number in range(20)]
        each = async_iter(jobs.square, [(number,) for number in range(10)], cached=60)
        assert sorted(result(each, wait=WAIT_MS, cached=True)) == sorted(number * number for number in range(10))
        chain = Chain(cached=True)
        chain.append(jobs.square, 2)
        chain.append(jobs.square, 5)
        chain.run()
        assert chain.result(wait=WAIT_MS) == [4, 25]
        bad = fetch(async_task(jobs.fail_at_once, "on purpose"), wait=WAIT_MS)
        assert not bad.success and "on purpose" in bad.result
        once = [AsyncTask(jobs.count, f"count:{number}") for number in range(20)]
        for task in once:
            task.run()
        assert [task.result(wait=WAIT_MS) for task in once] == [1] * 20
        until("an empty queue", lambda: queue_size() == 0)
    assert all(int(redis.Redis(port=port, db=7).get(f"count:{number}")) == 1 for number in range(20)), "a task was done twice"
    r.flushdb()


def main(port):
    report.run("Django-Q", tasks_and_results, port)
