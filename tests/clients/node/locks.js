// redlock on ioredis: what an application does with it.

import assert from "node:assert/strict";
import { Redis } from "ioredis";
import Redlock, { ExecutionError, Lock } from "redlock";
import { run, until } from "./report.js";

const TTL_MS = 30_000;
const once = { retryCount: 0 };
const patient = { retryCount: -1, retryDelay: 10, retryJitter: 5 };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
// redlock sums up why it failed in a list of attempts; a lock that somebody else has must be the only reason.
const isTaken = async (promise) => {
  const error = await promise.then(
    () => assert.fail("a lock had two holders"),
    (error) => error,
  );
  assert.ok(error instanceof ExecutionError, String(error));
  for (const attempt of error.attempts) {
    for (const why of (await attempt).votesAgainst.values()) assert.equal(why.name, "ResourceLockedError", String(why));
  }
};

async function heldAndReleased(r, other) {
  const mine = new Redlock([r], once);
  const theirs = new Redlock([other], once);
  const lock = await mine.acquire(["{l}a", "{l}b"], TTL_MS);
  assert.ok(lock.expiration > Date.now() && (await r.get("{l}a")) === lock.value && (await r.get("{l}b")) === lock.value);
  await isTaken(theirs.acquire(["{l}a"], TTL_MS));
  await isTaken(theirs.acquire(["{l}c", "{l}b"], TTL_MS));
  assert.equal(await r.exists("{l}c"), 0, "a lock that could not be had left something");
  await r.pexpire("{l}a", 5_000);
  const longer = await lock.extend(TTL_MS);
  assert.ok((await r.pttl("{l}a")) > TTL_MS - 5_000);
  // A stranger's lock of the same names: neither extended nor released.
  const stranger = new Lock(theirs, longer.resources, "not the owner's", [], longer.expiration);
  await isTaken(stranger.extend(TTL_MS));
  await isTaken(stranger.release());
  assert.equal(await r.exists("{l}a", "{l}b"), 2, "a lock was released by who does not own it");
  await longer.release();
  assert.equal(await r.exists("{l}a", "{l}b"), 0);
  await (await theirs.acquire(["{l}a"], TTL_MS)).release();
}

async function expires(r, other) {
  const lock = await new Redlock([r], once).acquire(["short"], 150);
  const next = await new Redlock([other], patient).acquire(["short"], TTL_MS);
  assert.ok(Date.now() >= lock.expiration, "a lock ended before its time");
  await assert.rejects(lock.extend(TTL_MS), ExecutionError);
  await isTaken(lock.release());
  assert.equal(await r.get("short"), next.value, "who had lost a lock released the next holder's");
  await next.release();
}

async function extendsWhileInUse(r, other) {
  const theirs = new Redlock([other], once);
  const first = await new Redlock([r], once).using(["used"], 400, { automaticExtensionThreshold: 200 }, async (signal) => {
    const value = await r.get("used");
    // Longer than the lock lasts by itself.
    for (const end = Date.now() + 1_200; Date.now() < end; await pause(20)) {
      assert.ok(!signal.aborted, String(signal.error));
      await isTaken(theirs.acquire(["used"], TTL_MS));
    }
    assert.equal(await r.get("used"), value);
    return value;
  });
  assert.ok(first && (await r.exists("used")) === 0, "the lock was not released");
  // A holder that is deprived of its lock is told so, while it works and again at the end.
  let told;
  const robbed = new Redlock([r], once).using(["used"], 400, { automaticExtensionThreshold: 200 }, async (signal) => {
    await other.set("used", "somebody else's", "PX", TTL_MS);
    await until(() => signal.aborted, "the holder to be told");
    told = signal.error;
  });
  await isTaken(robbed);
  assert.ok(told instanceof Error && (await r.get("used")) === "somebody else's");
}

async function contention(r, other) {
  await r.set("count", 0);
  await Promise.all(
    Array.from({ length: 10 }, async (_, number) => {
      const redlock = new Redlock([number % 2 ? r : other], patient);
      for (let lap = 0; lap < 8; lap += 1) {
        const lock = await redlock.acquire(["busy"], TTL_MS);
        const before = Number(await r.get("count"));
        await pause(1);
        await other.set("count", before + 1);
        await lock.release();
      }
    }),
  );
  assert.equal(await r.get("count"), "80", "additions were lost: the lock had two holders");
}

// Workers that all see the same tasks: SET NX EX lets each be done once.
async function doubles(r, other) {
  const won = await Promise.all(
    Array.from({ length: 400 }, (_, at) => (at % 2 ? r : other).set(`task:${at % 40}`, at, "EX", 60, "NX")),
  );
  assert.equal(won.filter((answer) => answer === "OK").length, 40, "a task was done twice, or never");
}

const scenarios = { heldAndReleased, expires, extendsWhileInUse, contention, doubles };

export async function main(port) {
  const [r, other] = [new Redis(port), new Redis(port)];
  for (const [name, scenario] of Object.entries(scenarios)) {
    await run(`redlock ${name}`, async () => {
      await r.flushall();
      await scenario(r, other);
    });
  }
  r.disconnect();
  other.disconnect();
}

// A lock in a shard that node 1 leads, asked for and extended all the time while it dies. `ports`: the nodes' plain ports;
// `asked`: the port of node 1 for cluster-aware clients, which tells whether it leads a key.
export async function holdThroughFailover(ports, asked) {
  const client = new Redis(asked);
  let name;
  for (let number = 0; name === undefined; number += 1) {
    const led = await client.exists(`held:${number}`).then(
      () => true,
      (error) => (assert.match(error.message, /MOVED/), false),
    );
    if (led) name = `held:${number}`;
  }
  client.disconnect();
  const [r, other] = [new Redis(ports[1]), new Redis(ports[2])];
  const theirs = new Redlock([other], once);
  let lock = await new Redlock([r], once).acquire([name], TTL_MS);
  let laps = 0;
  let ending = false;
  const watching = (async () => {
    for (; !ending; laps += 1) {
      await isTaken(theirs.acquire([name], TTL_MS));
      lock = await lock.extend(TTL_MS);
    }
  })();
  watching.catch(() => {});
  // To be called when node 1 has died.
  return async () => {
    const first = new Redis(ports[0], { retryStrategy: null, lazyConnect: true });
    first.on("error", () => {});
    await assert.rejects(first.connect(), "node 1 is alive");
    const before = laps;
    await Promise.race([watching, until(() => laps > before + 2, "the lock to be asked for again")]);
    ending = true;
    await watching;
    await lock.release();
    await theirs.acquire([name], TTL_MS);
    r.disconnect();
    other.disconnect();
  };
}
