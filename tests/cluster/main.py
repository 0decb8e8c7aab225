"""Clusters of real processes under faults: what clients saw is checked for linearizability.

usage: main.py TORC CHECKER [--failovers N] [NAME…]    (TORC, CHECKER: the binaries `torc` and `sim`; NAME: only these
scenarios; N: how often the leader is killed in `counters_behind_locks` and `queue_loses_nothing`, 3 by default)

Must be root: every run makes network namespaces of its own. Exit code 1 when a scenario failed.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "clients", "python"))

import network


def main(arguments):
    if "--hub" not in arguments:
        if os.geteuid() != 0:
            print("FAILED cluster: network namespaces need root")
            return 1
        return network.enter_hub([sys.executable, os.path.abspath(__file__), *arguments])
    at = arguments.index("--hub")
    hub = arguments[at + 1]
    torc, checker, *names = arguments[:at]
    failovers = None
    if "--failovers" in names:
        option = names.index("--failovers")
        failovers = int(names[option + 1])
        del names[option:option + 2]
    import report
    import scenarios

    known = {scenario.__name__: scenario for scenario in scenarios.SCENARIOS}
    for name in names or known:
        report.run(f"cluster {name}", known[name], scenarios.World(torc, checker, hub, failovers))
    print(f"cluster: {report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
