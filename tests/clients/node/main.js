// All JavaScript scenarios against a started server.
//
// usage: node main.js PORT    (after `npm ci`; exit code 1 when a scenario failed)

import { main as collections } from "./collections.js";
import { main as ioredis } from "./ioredis.js";
import { main as locks } from "./locks.js";
import { main as nodeRedis } from "./node-redis.js";
import { counts, run } from "./report.js";

const port = Number(process.argv[2]);
// A client that cannot even connect is one failure more, not the end of the program.
const whole = (name, main) =>
  main(port).catch((error) => run(name, () => Promise.reject(error)));
await whole("ioredis", ioredis);
await whole("ioredis on collections", collections);
await whole("node-redis", nodeRedis);
await whole("redlock", locks);
console.log(`node: ${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed > 0 ? 1 : 0);
