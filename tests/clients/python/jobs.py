"""The tasks that workers of RQ and Celery carry out; their processes import this module."""

import os
import time

import redis
from celery import Celery

app = Celery("jobs")


def configure(port, hosts="127.0.0.1"):
    """The workers' processes learn of the port, and of the hosts (one after the other is tried), by their environment."""
    os.environ |= {"TEST_PORT": str(port), "TEST_HOSTS": hosts}
    hosts = hosts.split(",")
    app.conf.update(
        broker_url=";".join(f"redis://{host}:{port}/5" for host in hosts),
        result_backend=f"redis://{hosts[0]}:{port}/6",
        broker_connection_retry_on_startup=True,
    )


if "TEST_PORT" in os.environ:
    configure(os.environ["TEST_PORT"], os.environ.get("TEST_HOSTS", "127.0.0.1"))


@app.task
def add(one, other):
    return one + other


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def fail(why):
    raise ValueError(why)


@app.task(acks_late=True, reject_on_worker_lost=True)
def marked(key):
    """Counts in the store how often it was carried out."""
    return redis.Redis(port=int(os.environ["TEST_PORT"]), db=7).incr(key)


def write_down(path, number, seconds):
    """Takes so long, then says in a file that it was carried out, and when: outside of the store."""
    time.sleep(seconds)
    with open(path, "a", encoding="ascii") as file:
        file.write(f"{number} {time.monotonic()}\n")
    return number


@app.task(acks_late=True, reject_on_worker_lost=True)
def written_down(path, number, seconds):
    return write_down(path, number, seconds)


@app.task(bind=True, max_retries=3)
def second_time(self):
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return self.request.retries


def count(key):
    """For Django-Q: counts in the store how often it was carried out."""
    return redis.Redis(port=int(os.environ["TEST_PORT"]), db=7).incr(key)


def square(number):
    """For RQ and Django-Q."""
    return number * number


def fail_at_once(why):
    """For RQ and Django-Q."""
    raise ValueError(why)


def slow_square(number):
    """For RQ: long enough that all workers have a share."""
    time.sleep(0.01)
    return number * number
