import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import redis.clients.jedis.AbstractTransaction;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.JedisPubSub;
import redis.clients.jedis.Pipeline;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.RedisProtocol;
import redis.clients.jedis.Response;
import redis.clients.jedis.csc.CacheConfig;
import redis.clients.jedis.exceptions.JedisConnectionException;
import redis.clients.jedis.exceptions.JedisDataException;
import redis.clients.jedis.params.ClientKillParams;
import redis.clients.jedis.params.ScanParams;
import redis.clients.jedis.params.SetParams;
import redis.clients.jedis.resps.ScanResult;

/**
 * All Java scenarios against a started server: Jedis and Redisson, what an application does with them.
 *
 * <p>usage: Main PORT (exit code 1 when a scenario failed)
 */
public final class Main {
  private final HostAndPort server;
  private final RedisProtocol protocol;

  private Main(int port, RedisProtocol protocol) {
    this.server = new HostAndPort("127.0.0.1", port);
    this.protocol = protocol;
  }

  private DefaultJedisClientConfig.Builder settings() {
    return DefaultJedisClientConfig.builder().protocol(protocol).socketTimeoutMillis(20_000);
  }

  private Jedis connect() {
    return new Jedis(server, settings().build());
  }

  void strings(Jedis r) {
    Report.same("OK", r.set("s", "one"));
    Report.same("one", r.get("s"));
    Report.same(null, r.get("none"));
    Report.same(null, r.set("s", "two", SetParams.setParams().nx()));
    Report.same("one", r.setGet("s", "two"));
    Report.same(4L, r.append("s", "+"));
    Report.same("tw", r.getrange("s", 0, 1));
    Report.same("OK", r.mset("m1", "1", "m2", "2"));
    Report.same(Arrays.asList("1", null, "2"), r.mget("m1", "none", "m2"));
    Report.same("1", r.getDel("m1"));
    Report.same(false, r.setbit("bits", 7, true));
    Report.same(1L, r.bitcount("bits"));
    Report.same(2L, r.exists("s", "m1", "m2"));
    Report.same("string", r.type("s"));
    Report.same(true, r.copy("s", "{s}c", false));
    Report.same(3L, r.del("s", "{s}c", "m2"));
  }

  void counters(Jedis r) {
    Report.same(1L, r.incr("n"));
    Report.same(42L, r.incrBy("n", 41));
    Report.same(41L, r.decr("n"));
    Report.same(0.5, r.incrByFloat("f", 0.5));
    r.set("text", "abc");
    try {
      r.incr("text");
      throw new IllegalStateException("INCR of a text was accepted");
    } catch (JedisDataException error) {
      Report.same("ERR value is not an integer or out of range", error.getMessage());
    }
  }

  void expiry(Jedis r) throws Exception {
    r.set("e", "1", SetParams.setParams().px(60));
    Report.until(() -> r.get("e") == null, "the key to expire");
    r.setex("e", 100, "x");
    Report.ok(r.ttl("e") >= 98 && r.ttl("e") <= 100, "ttl " + r.ttl("e"));
    Report.same(1L, r.persist("e"));
    Report.same(-1L, r.ttl("e"));
    Report.same(-2L, r.pttl("none"));
  }

  void pipelines(Jedis r) {
    try (Pipeline writes = r.pipelined()) {
      for (int number = 0; number < 10_000; number++) {
        writes.set("p:" + number, "" + number);
      }
      Report.ok(writes.syncAndReturnAll().stream().allMatch("OK"::equals), "a SET in a pipeline failed");
    }
    try (Pipeline reads = r.pipelined()) {
      List<Response<String>> replies = new ArrayList<>();
      for (int number = 0; number < 10_000; number++) {
        replies.add(reads.get("p:" + number));
      }
      reads.sync();
      for (int number = 0; number < 10_000; number++) {
        Report.same("" + number, replies.get(number).get());
      }
    }
  }

  void transactions(Jedis r) {
    try (AbstractTransaction transaction = r.multi()) {
      transaction.set("t", "1");
      Response<Long> count = transaction.incr("t");
      Report.same(2, transaction.exec().size());
      Report.same(2L, count.get());
    }
    try (Jedis other = connect()) {
      r.watch("t");
      other.set("t", "100");
      AbstractTransaction transaction = r.multi();
      transaction.set("t", "0");
      Report.same(null, transaction.exec());
      Report.same("100", r.get("t"));
      AbstractTransaction dropped = r.multi();
      dropped.set("t", "0");
      Report.same("OK", dropped.discard());
    }
    Report.same("100", r.get("t"));
  }

  void publishSubscribe(Jedis r) throws Exception {
    LinkedBlockingQueue<String> heard = new LinkedBlockingQueue<>();
    JedisPubSub listener = new JedisPubSub() {
      @Override
      public void onSubscribe(String channel, int count) {
        heard.add("subscribed " + channel);
      }

      @Override
      public void onMessage(String channel, String message) {
        heard.add(channel + " " + message);
      }
    };
    Thread thread = new Thread(() -> {
      try (Jedis sub = connect()) {
        sub.subscribe(listener, "news");
      }
    });
    thread.setDaemon(true);
    thread.start();
    Report.same("subscribed news", heard.poll(10, TimeUnit.SECONDS));
    Report.same(1L, r.publish("news", "h\u00e9llo"));
    Report.same("news h\u00e9llo", heard.poll(10, TimeUnit.SECONDS));
    Report.same(List.of("news"), r.pubsubChannels());
    listener.unsubscribe();
    thread.join(10_000);
    Report.ok(!thread.isAlive(), "the listener did not end");
    Report.same(0L, r.publish("news", "x"));
  }

  void scan(Jedis r) {
    List<String> pairs = new ArrayList<>();
    Set<String> expected = new HashSet<>();
    for (int number = 0; number < 2000; number++) {
      expected.add("scan:" + number);
      pairs.add("scan:" + number);
      pairs.add("x");
    }
    r.mset(pairs.toArray(String[]::new));
    Set<String> found = new HashSet<>();
    String cursor = ScanParams.SCAN_POINTER_START;
    do {
      ScanResult<String> page = r.scan(cursor, new ScanParams().match("scan:*").count(100));
      found.addAll(page.getResult());
      cursor = page.getCursor();
    } while (!cursor.equals(ScanParams.SCAN_POINTER_START));
    Report.same(expected, found);
  }

  void largeAndBinary(Jedis r) {
    byte[] value = new byte[5_000_000];
    new Random(1).nextBytes(value);
    byte[] key = "large\0\r\n".getBytes(StandardCharsets.UTF_8);
    Report.same("OK", r.set(key, value));
    Report.ok(Arrays.equals(value, r.get(key)), "a large value came back changed");
  }

  void reconnect(Jedis r) {
    try (Jedis victim = connect()) {
      long id = victim.clientId();
      Report.same(1L, r.clientKill(new ClientKillParams().id("" + id)));
      try {
        victim.ping();
        throw new IllegalStateException("a killed connection answered");
      } catch (JedisConnectionException expected) {
        // As it must be: Jedis itself does not connect again, its pool does.
      }
    }
    try (RedisClient pool = RedisClient.builder().hostAndPort(server).clientConfig(settings().clientName("pooled").build()).build()) {
      Report.same("OK", pool.set("back", "1"));
      r.clientKill(new ClientKillParams().type(redis.clients.jedis.args.ClientType.NORMAL).skipMe(ClientKillParams.SkipMe.YES));
      for (int attempt = 0; ; attempt++) {
        try {
          Report.same("1", pool.get("back"));
          break;
        } catch (JedisConnectionException error) {
          Report.ok(attempt < 20, "the pool did not come back: " + error);
        }
      }
    }
  }

  void tracking(Jedis r) throws Exception {
    if (protocol != RedisProtocol.RESP3) {
      return; // Jedis has its cache under RESP3 only.
    }
    String version = r.info("server").lines().filter(line -> line.startsWith("redis_version:")).findFirst().orElseThrow().substring(14);
    boolean torc = r.info("server").contains("torc_version:");
    String[] parts = version.trim().split("\\.");
    if (Integer.parseInt(parts[0]) < 8 && Integer.parseInt(parts[0]) * 100 + Integer.parseInt(parts[1]) < 704) {
      Report.ok(!torc, "redis_version " + version + " keeps clients' caches off");
      return; // An older Redis: Jedis refuses to cache on it.
    }
    try (RedisClient cached = RedisClient.builder().hostAndPort(server).clientConfig(settings().build())
        .cacheConfig(CacheConfig.builder().maxSize(100).build()).build()) {
      r.set("tracked", "first");
      Report.same("first", cached.get("tracked"));
      Report.same("first", cached.get("tracked"));
      r.set("tracked", "second");
      Report.until(() -> "second".equals(cached.get("tracked")), "an invalidation");
    }
  }

  private interface Body {
    void run(Main main, Jedis r) throws Exception;
  }

  private void scenario(String name, Body body) {
    Report.run("Jedis " + protocol + " " + name, () -> {
      try (Jedis r = connect()) {
        r.flushAll();
        body.run(this, r);
      }
    });
  }

  public static void main(String[] args) {
    for (RedisProtocol protocol : new RedisProtocol[] {RedisProtocol.RESP2, RedisProtocol.RESP3}) {
      Main main = new Main(Integer.parseInt(args[0]), protocol);
      main.scenario("strings", Main::strings);
      main.scenario("counters", Main::counters);
      main.scenario("expiry", Main::expiry);
      main.scenario("pipelines", Main::pipelines);
      main.scenario("transactions", Main::transactions);
      main.scenario("publishSubscribe", Main::publishSubscribe);
      main.scenario("scan", Main::scan);
      main.scenario("largeAndBinary", Main::largeAndBinary);
      main.scenario("reconnect", Main::reconnect);
      main.scenario("tracking", Main::tracking);
    }
    Redissons.run(Integer.parseInt(args[0]));
    System.out.println("java: " + Report.passed + " passed, " + Report.failed + " failed");
    System.exit(Report.failed > 0 ? 1 : 0);
  }
}
