"""All Python scenarios against a started server.

usage: main.py PORT    (see requirements.txt for what it needs; exit code 1 when a scenario failed)
"""

import os
import sys
import tempfile

import async_scenarios
import collection_scenarios
import django_queue
import frameworks
import lock_commands
import lock_scenarios
import queues
import report
import sync_scenarios

port = int(sys.argv[1])
site = tempfile.TemporaryDirectory()
# Django's settings, for this process and for its workers.
os.environ |= {"TEST_PORT": str(port), "TEST_DATABASE": os.path.join(site.name, "db"), "DJANGO_SETTINGS_MODULE": "django_site"}
sync_scenarios.main(port)
async_scenarios.main(port)
frameworks.main(port)
lock_scenarios.main(port)
lock_commands.main(port)
collection_scenarios.main(port)
queues.main(port)
django_queue.main(port)
print(f"python: {report.passed} passed, {report.failed} failed")
sys.exit(1 if report.failed else 0)
