// ioredis on hashes, lists, sets and sorted sets, and waiting for them.

import assert from "node:assert/strict";
import { Redis } from "ioredis";
import { run } from "./report.js";

async function collections(r) {
  assert.equal(await r.hset("h", { a: 1, b: "x" }), 2);
  assert.equal(await r.hincrby("h", "a", 41), 42);
  assert.deepEqual({ ...(await r.hgetall("h")) }, { a: "42", b: "x" });
  assert.deepEqual(await r.hmget("h", "a", "none"), ["42", null]);
  assert.equal(await r.rpush("l", 1, 2, 3), 3);
  assert.deepEqual(await r.lrange("l", 0, -1), ["1", "2", "3"]);
  assert.equal(await r.lpop("l"), "1");
  await assert.rejects(r.hget("l", "a"), /WRONGTYPE/);
  assert.equal(await r.sadd("{s}a", 1, 2, 3), 3);
  assert.equal(await r.sadd("{s}b", 2, 3, 4), 3);
  assert.deepEqual([...(await r.sinter("{s}a", "{s}b"))].sort(), ["2", "3"]);
  assert.equal(await r.zadd("z", 2.5, "b", 1, "a"), 2);
  assert.deepEqual((await r.zrange("z", 0, -1, "WITHSCORES")).flat().map(String), ["a", "1", "b", "2.5"]);
  assert.equal(await r.zrank("z", "b"), 1);
  await r.hset("big", Object.fromEntries(Array.from({ length: 2000 }, (_, number) => [`f${number}`, number])));
  const fields = new Set();
  for await (const page of r.hscanStream("big", { count: 100 })) for (let at = 0; at < page.length; at += 2) fields.add(page[at]);
  assert.equal(fields.size, 2000);
}

async function blockingPops(r) {
  assert.equal(await r.blpop("none", 0.1), null);
  const workers = Array.from({ length: 5 }, () => r.duplicate());
  const taken = [];
  const working = workers.map(async (worker) => {
    for (let got = await worker.blpop("tasks", "more tasks", 2); got; got = await worker.blpop("tasks", "more tasks", 2)) {
      taken.push(Number(got[1]));
    }
  });
  for (let task = 0; task < 200; task += 1) await r.rpush(task % 2 ? "tasks" : "more tasks", task);
  await Promise.all(working);
  assert.deepEqual(taken.sort((one, other) => one - other), Array.from({ length: 200 }, (_, task) => task));
  const moved = workers[0].blmove("{q}from", "{q}to", "LEFT", "RIGHT", 5);
  const popped = workers[1].bzpopmin("z", 5);
  await r.lpush("{q}from", "moved");
  await r.zadd("z", 1.5, "m");
  assert.equal(await moved, "moved");
  assert.deepEqual((await popped).map(String), ["z", "m", "1.5"]);
  for (const worker of workers) worker.disconnect();
}

export async function main(port) {
  for (const protocol of [2, 3]) {
    const r = new Redis({ port, host: "127.0.0.1", protocol });
    r.on("error", () => {});
    for (const [name, scenario] of Object.entries({ collections, blockingPops })) {
      await run(`ioredis RESP${protocol} ${name}`, async () => {
        await r.flushall();
        await scenario(r);
      });
    }
    r.disconnect();
  }
}
