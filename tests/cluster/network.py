"""A network of its own for every run: one namespace a node, joined by a bridge in a hub's namespace, where the
clients are. Nothing of it touches the machine's own interfaces.

    hub 10.77.0.254 ── bridge ──┬── node 1 10.77.0.1
                                ├── node 2 10.77.0.2
                                └── node 3 10.77.0.3 …
"""

import os
import subprocess

HUB_ADDRESS = "10.77.0.254"


def address(number):
    return f"10.77.0.{number}"


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def hub_name():
    return f"torc-{os.getpid()}-hub"


class Network:
    """Namespaces for `count` nodes. The calling process must be in the hub's (see `enter_hub`)."""

    made = 0

    def __init__(self, hub, count):
        # The kernel takes a namespace apart after it was deleted: the next network's names are others.
        Network.made += 1
        self.lap = Network.made
        self.hub = hub
        self.numbers = range(1, count + 1)
        for number in self.numbers:
            name, port = self.name(number), self.port(number)
            run("ip", "netns", "add", name)
            run("ip", "link", "add", port, "type", "veth", "peer", "name", "v0", "netns", name)
            run("ip", "link", "set", port, "master", "br0", "up")
            run("ip", "-n", name, "addr", "add", f"{address(number)}/24", "dev", "v0")
            run("ip", "-n", name, "link", "set", "v0", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")

    def name(self, number):
        return self.hub.replace("hub", f"{self.lap}n{number}")

    def port(self, number):
        return f"p{self.lap}n{number}"

    def rule(self, number, *rule):
        run("ip", "netns", "exec", self.name(number), "iptables", *rule)

    def cut(self, source, target):
        """Nothing from `source` arrives at `target`; the other direction goes on."""
        self.rule(target, "-A", "INPUT", "-s", address(source), "-j", "DROP")

    def part(self, one, other):
        self.cut(one, other)
        self.cut(other, one)

    def lose(self, number, share):
        """The node loses this share of the packets that reach it from other nodes."""
        for other in self.numbers:
            if other != number:
                self.rule(number, "-A", "INPUT", "-s", address(other), "-m", "statistic", "--mode", "random",
                          "--probability", str(share), "-j", "DROP")

    def heal(self):
        for number in self.numbers:
            self.rule(number, "-F")

    def close(self):
        for number in self.numbers:
            subprocess.run(["ip", "link", "del", self.port(number)], check=False)
            subprocess.run(["ip", "netns", "del", self.name(number)], check=False)


def enter_hub(arguments):
    """Makes the hub and runs this program again inside of it; returns the exit code, the hub is gone then."""
    hub = hub_name()
    run("ip", "netns", "add", hub)
    try:
        run("ip", "-n", hub, "link", "set", "lo", "up")
        run("ip", "-n", hub, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", hub, "addr", "add", f"{HUB_ADDRESS}/24", "dev", "br0")
        run("ip", "-n", hub, "link", "set", "br0", "up")
        return subprocess.run(["ip", "netns", "exec", hub, *arguments, "--hub", hub], check=False).returncode
    finally:
        subprocess.run(["ip", "netns", "del", hub], check=False)
