"""One line per scenario, the same in every language of tests/clients: `ok NAME` or `FAILED NAME: why`."""

import traceback

passed = 0
failed = 0


def ok(name):
    global passed
    passed += 1
    print(f"ok {name}", flush=True)


def bad(name, error):
    global failed
    failed += 1
    last = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
    place = f" at {last.filename.rsplit('/', 1)[-1]}:{last.lineno}: {last.line}" if last else ""
    print(f"FAILED {name}: {type(error).__name__}: {error}{place}".replace("\n", " "), flush=True)


def run(name, scenario, *args):
    try:
        scenario(*args)
    except Exception as error:  # a scenario that fails must not stop the others
        bad(name, error)
    else:
        ok(name)


async def run_async(name, scenario, *args):
    try:
        await scenario(*args)
    except Exception as error:
        bad(name, error)
    else:
        ok(name)
