// node-redis: what an application does with it.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createClient, RESP_TYPES } from "redis";
import { run, until } from "./report.js";

async function connect(port, RESP, options = {}) {
  const client = createClient({ socket: { port, host: "127.0.0.1" }, RESP, ...options });
  client.on("error", () => {});
  await client.connect();
  return client;
}

async function strings(r) {
  assert.equal(await r.set("s", "one"), "OK");
  assert.equal(await r.get("s"), "one");
  assert.equal(await r.get("none"), null);
  assert.equal(await r.set("s", "two", { condition: "NX" }), null);
  assert.equal(await r.set("s", "two", { GET: true }), "one");
  assert.equal(await r.append("s", "+"), 4);
  assert.equal(await r.mSet({ m1: "1", m2: "2" }), "OK");
  assert.deepEqual(await r.mGet(["m1", "none", "m2"]), ["1", null, "2"]);
  assert.equal(await r.getDel("m1"), "1");
  assert.equal(await r.setBit("bits", 7, 1), 0);
  assert.equal(await r.bitCount("bits"), 1);
  assert.equal(await r.exists(["s", "m1", "m2"]), 2);
  assert.equal(await r.copy("s", "{s}c"), 1);
  assert.equal(await r.type("{s}c"), "string");
}

async function counters(r) {
  assert.equal(await r.incr("n"), 1);
  assert.equal(await r.incrBy("n", 41), 42);
  assert.equal(await r.decr("n"), 41);
  assert.equal(await r.incrByFloat("f", 0.5), "0.5");
  await r.set("text", "abc");
  await assert.rejects(r.incr("text"), /ERR value is not an integer or out of range/);
}

async function expiry(r) {
  await r.set("e", "1", { expiration: { type: "PX", value: 60 } });
  await until(async () => (await r.get("e")) === null, "the key to expire");
  await r.setEx("e", 100, "x");
  const left = await r.ttl("e");
  assert.ok(left >= 98 && left <= 100, `${left}`);
  await r.persist("e");
  assert.equal(await r.ttl("e"), -1);
}

async function pipelines(r) {
  const numbers = Array.from({ length: 10_000 }, (_, number) => `${number}`);
  assert.ok((await Promise.all(numbers.map((number) => r.set(`p:${number}`, number)))).every((reply) => reply === "OK"));
  assert.deepEqual(await Promise.all(numbers.map((number) => r.get(`p:${number}`))), numbers);
}

async function transactions(r, port, RESP) {
  assert.deepEqual(await r.multi().set("t", "1").incr("t").get("t").exec(), ["OK", 2, "2"]);
  const other = await connect(port, RESP);
  await r.watch("t");
  await other.set("t", "100");
  await assert.rejects(r.multi().set("t", "0").exec(), /watched keys has been changed|WatchError/);
  assert.equal(await r.get("t"), "100");
  await assert.rejects(r.multi().set("u", "1").addCommand(["NOSUCH"]).exec(), /EXECABORT|unknown command/);
  assert.equal(await r.get("u"), null);
  other.destroy();
}

async function publishSubscribe(r, port, RESP) {
  const sub = await connect(port, RESP);
  const heard = [];
  await sub.subscribe("news", (message) => heard.push(message), true);
  await sub.pSubscribe("n*", (message) => heard.push(message), true);
  await sub.sSubscribe("shard", (message) => heard.push(message), true);
  assert.equal(await r.publish("news", Buffer.from([0, 255])), 2);
  assert.equal(await r.sPublish("shard", Buffer.from([0, 255])), 1);
  await until(() => heard.length === 3, "three messages");
  assert.ok(heard.every((message) => message.equals(Buffer.from([0, 255]))));
  await sub.unsubscribe();
  await sub.pUnsubscribe();
  await sub.sUnsubscribe();
  assert.equal(await r.publish("news", "x"), 0);
  sub.destroy();
}

async function scan(r) {
  const expected = new Set(Array.from({ length: 2000 }, (_, number) => `scan:${number}`));
  await r.mSet([...expected].map((key) => [key, "x"]));
  const found = new Set();
  for await (const keys of r.scanIterator({ MATCH: "scan:*", COUNT: 100 })) for (const key of keys) found.add(key);
  assert.deepEqual(found, expected);
}

async function largeAndBinary(r) {
  const value = randomBytes(5_000_000);
  const binary = r.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  assert.equal(`${await binary.set("large", value)}`, "OK");
  assert.ok(value.equals(await binary.get("large")));
  const key = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  await binary.set(key, Buffer.from(key).reverse());
  assert.ok(Buffer.from(key).reverse().equals(await binary.get(key)));
}

async function reconnect(r, port, RESP) {
  const victim = await connect(port, RESP, { name: "victim" });
  const first = await victim.clientId();
  assert.equal(await r.clientKill({ filter: "ID", id: first }), 1);
  await until(async () => (await victim.clientId().catch(() => first)) !== first, "a new connection");
  assert.equal(await victim.set("back", "again"), "OK");
  assert.equal(await victim.clientGetName(), "victim");
  victim.destroy();
}

async function tracking(r, port, RESP) {
  if (RESP !== 3) return; // node-redis has its cache under RESP3 only.
  const reader = await connect(port, RESP, { clientSideCache: { ttl: 0, maxEntries: 100, evictPolicy: "LRU" } });
  await r.set("tracked", "first");
  assert.equal(await reader.get("tracked"), "first");
  assert.equal(await reader.get("tracked"), "first");
  await r.set("tracked", "second");
  await until(async () => (await reader.get("tracked")) === "second", "an invalidation");
  reader.destroy();
}

const scenarios = { strings, counters, expiry, pipelines, transactions, publishSubscribe, scan, largeAndBinary, reconnect, tracking };

export async function main(port) {
  for (const RESP of [2, 3]) {
    const r = await connect(port, RESP);
    for (const [name, scenario] of Object.entries(scenarios)) {
      await run(`node-redis RESP${RESP} ${name}`, async () => {
        await r.flushAll();
        await scenario(r, port, RESP);
      });
    }
    r.destroy();
  }
}
