"""Settings of a Django site that keeps its cache and its queue of tasks in the store.

By environment: TEST_PORT, the store's port; TEST_DATABASE, the path of the site's SQLite database."""

import os

SECRET_KEY = "of a test alone"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_q"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["TEST_DATABASE"],
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    },
}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"redis://127.0.0.1:{os.environ['TEST_PORT']}/3",
        # One slot: what Django does in MULTI stays in one shard.
        "KEY_PREFIX": "{site}",
        "TIMEOUT": 100,
    },
}
Q_CLUSTER = {
    "name": "site",
    "workers": 2,
    "recycle": 100,
    "timeout": 20,
    "retry": 60,
    "save_limit": 0,
    "log_level": "WARNING",
    "redis": {"host": "127.0.0.1", "port": int(os.environ["TEST_PORT"]), "db": 4},
}
