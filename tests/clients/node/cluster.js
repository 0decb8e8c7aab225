// The cluster-aware clients of ioredis and node-redis, and a lock of redlock, while a node is killed.
//
// usage: node cluster.js CLUSTERPORT…    (run by with-cluster, which kills a node when it is told to)

import assert from "node:assert/strict";
import { Cluster } from "ioredis";
import { createCluster } from "redis";
import { holdThroughFailover } from "./locks.js";
import { counts, run, until } from "./report.js";

const KEYS = 300;
const ports = process.argv.slice(2).map(Number);
const numbers = Array.from({ length: KEYS }, (_, number) => number);

async function whole(set, get) {
  assert.deepEqual(await Promise.all(numbers.map((n) => set(`k:${n}`, String(n)))), numbers.map(() => "OK"));
  assert.deepEqual(await Promise.all(numbers.map((n) => get(`k:${n}`))), numbers.map(String));
}

async function failover(set, get) {
  let errors = 0;
  for (const lap of ["1", "2", "3"]) {
    for (const n of numbers) {
      await until(
        () =>
          set(`k:${n}`, lap).then(
            (answer) => answer === "OK",
            () => {
              errors += 1;
              return false;
            },
          ),
        "a new leader",
      );
    }
  }
  assert.ok(errors < 300, `${errors} errors before the client found the new leaders`);
  assert.deepEqual(await Promise.all(numbers.map((n) => get(`k:${n}`))), numbers.map(() => "3"));
}

const io = new Cluster(ports.map((port) => ({ host: "127.0.0.1", port })), { redisOptions: { connectTimeout: 2000 } });
io.on("error", () => {});
const redis = createCluster({ rootNodes: ports.map((port) => ({ url: `redis://127.0.0.1:${port}` })) });
redis.on("error", () => {});
const ways = [
  ["ioredis", (key, value) => io.set(key, value), (key) => io.get(key)],
  ["node-redis", (key, value) => redis.set(key, value), (key) => redis.get(key)],
];
await run("node-redis cluster connects", () => redis.connect());
for (const [name, set, get] of ways) await run(`${name} cluster whole`, () => whole(set, get));
await run("ioredis cluster many keys of one slot", async () => {
  assert.equal(await io.mset("{t}a", 1, "{t}b", 2), "OK");
  assert.deepEqual(await io.mget("{t}a", "{t}b"), ["1", "2"]);
  assert.deepEqual(await io.multi().incr("{t}a").get("{t}b").exec(), [[null, 2], [null, "2"]]);
});
// A node's port for cluster-aware clients is 1000 above the one for all others.
let survived;
await run("redlock before a failover", async () => {
  survived = await holdThroughFailover(ports.map((port) => port - 1000), ports[0]);
});
console.log("KILL A NODE");
for (const [name, set, get] of ways) await run(`${name} cluster follows a failover`, () => failover(set, get));
await run("redlock holds through a failover", () => survived());
console.log(`node cluster: ${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed > 0 ? 1 : 0);
