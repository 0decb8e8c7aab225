"""Django's cache and Flask-Caching, as their users configure them."""

import time

import report
from lock_scenarios import together


def django_cache(_):
    import django

    django.setup()
    from django.core.cache import cache

    cache.clear()
    value = {"list": [1, 2, 3], "text": "ü", "none": None}
    cache.set("object", value)
    assert cache.get("object") == value and cache.get("none", "default") == "default"
    assert cache.add("object", 1) is False and cache.add("new", 1) is True
    assert cache.incr("new") == 2 and cache.decr("new", 2) == 0
    cache.set_many({"a": 1, "b": 2}, timeout=50)
    assert cache.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
    assert cache.touch("a", 10) is True and cache.has_key("a") and not cache.has_key("c")
    assert cache.get_or_set("lazy", lambda: 42) == 42
    cache.set("old", 1, version=2)
    assert cache.get("old") is None and cache.get("old", version=2) == 1 and cache.incr_version("old", version=2) == 3
    cache.delete_many(["a", "b"])
    assert cache.delete("new") is True and cache.get("new") is None
    cache.set("short", 1, timeout=1)
    end = time.monotonic() + 10
    while cache.get("short") is not None:
        assert time.monotonic() < end, "the entry did not expire"
        time.sleep(0.02)
    cache.set("gone", 1, timeout=0)
    assert cache.get("gone") is None
    cache.clear()
    assert cache.get("object") is None


def django_adds_once(_):
    """cache.add as a queue's workers use it: whoever adds the task's mark does the task."""
    from django.core.cache import cache

    cache.clear()
    done = together(6, lambda worker: [task for task in range(30) if cache.add(f"task:{task}", worker, timeout=50)])
    assert sorted(task for some in done for task in some) == list(range(30)), "a task was done twice, or never"
    assert all(cache.get(f"task:{task}") == worker for worker, some in enumerate(done) for task in some)
    assert cache.delete("task:0") is True and cache.add("task:0", "again", timeout=1) is True
    end = time.monotonic() + 10
    while not cache.add("task:0", "later", timeout=50):
        assert time.monotonic() < end, "a mark did not expire"
        time.sleep(0.02)
    assert cache.add("long", "x" * 1000, timeout=50) is True and cache.add("long", "y", timeout=50) is False


def django_sessions(port):
    from django.contrib.sessions.backends.cache import SessionStore

    session = SessionStore()
    session["user"] = 7
    session.save()
    again = SessionStore(session_key=session.session_key)
    assert again["user"] == 7
    again.flush()
    assert SessionStore(session_key=session.session_key).get("user") is None


def flask_caching(port):
    from flask import Flask
    from flask_caching import Cache

    app = Flask("shop")
    settings = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": f"redis://127.0.0.1:{port}/4", "CACHE_DEFAULT_TIMEOUT": 100}
    cache = Cache(app, config=settings)
    calls = []

    @app.route("/slow")
    @cache.cached(timeout=50)
    def slow():
        calls.append(1)
        return "done"

    @cache.memoize(50)
    def double(number):
        calls.append(number)
        return number * 2

    with app.app_context():
        cache.clear()
        client = app.test_client()
        assert [client.get("/slow").data for _ in range(3)] == [b"done"] * 3 and len(calls) == 1
        assert [double(21), double(21), double(4)] == [42, 42, 8] and len(calls) == 3
        cache.delete_memoized(double)
        assert double(21) == 42 and len(calls) == 4
        assert cache.set("k", {"x": [1, 2]}) and cache.get("k") == {"x": [1, 2]}
        assert cache.add("k", 1) in (False, None) and cache.get("k") == {"x": [1, 2]}
        assert cache.set_many({"a": 1, "b": 2}) and cache.get_many("a", "b", "c") == [1, 2, None]
        assert cache.has("a") and cache.delete("a") and not cache.has("a")
        assert cache.delete_many("b") and cache.get("b") is None
        cache.clear()
        assert cache.get("k") is None


def main(port):
    report.run("Django cache", django_cache, port)
    report.run("Django cache.add of many workers", django_adds_once, port)
    report.run("Django sessions in the cache", django_sessions, port)
    report.run("Flask-Caching", flask_caching, port)
