import java.util.HashSet;
import java.util.Set;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.RedisClusterClient;
import redis.clients.jedis.RedisProtocol;
import redis.clients.jedis.exceptions.JedisException;

/**
 * Jedis's cluster-aware client, while a node is killed.
 *
 * <p>usage: ClusterMain CLUSTERPORT… (run by with-cluster, which kills a node when it is told to)
 */
public final class ClusterMain {
  private static final int KEYS = 300;

  private static RedisClusterClient connect(String[] ports, RedisProtocol protocol) {
    Set<HostAndPort> nodes = new HashSet<>();
    for (String port : ports) {
      nodes.add(new HostAndPort("127.0.0.1", Integer.parseInt(port)));
    }
    return RedisClusterClient.builder().nodes(nodes)
        .clientConfig(DefaultJedisClientConfig.builder().protocol(protocol).socketTimeoutMillis(20_000).build())
        .build();
  }

  private static void whole(RedisClusterClient r) {
    for (int number = 0; number < KEYS; number++) {
      Report.same("OK", r.set("k:" + number, "" + number));
    }
    for (int number = 0; number < KEYS; number++) {
      Report.same("" + number, r.get("k:" + number));
    }
    Report.same("OK", r.mset("{tag}a", "1", "{tag}b", "2"));
    Report.same(2L, r.exists("{tag}a", "{tag}b"));
  }

  private static void failover(RedisClusterClient r) throws Exception {
    int[] errors = {0};
    System.out.println("KILL A NODE");
    for (int lap = 0; lap < 3; lap++) {
      for (int number = 0; number < KEYS; number++) {
        String key = "k:" + number;
        String value = "" + lap;
        Report.until(() -> {
          try {
            return "OK".equals(r.set(key, value));
          } catch (JedisException lost) {
            errors[0]++;
            return false;
          }
        }, "a new leader");
      }
    }
    Report.ok(errors[0] < 100, errors[0] + " errors before the client found the new leaders");
    for (int number = 0; number < KEYS; number++) {
      Report.same("2", r.get("k:" + number));
    }
  }

  public static void main(String[] ports) {
    for (RedisProtocol protocol : new RedisProtocol[] {RedisProtocol.RESP2, RedisProtocol.RESP3}) {
      Report.run("Jedis cluster " + protocol + " whole", () -> {
        try (RedisClusterClient r = connect(ports, protocol)) {
          whole(r);
        }
      });
    }
    Report.run("Jedis cluster follows a failover", () -> {
      try (RedisClusterClient r = connect(ports, RedisProtocol.RESP3)) {
        failover(r);
      }
    });
    System.out.println("java cluster: " + Report.passed + " passed, " + Report.failed + " failed");
    System.exit(Report.failed > 0 ? 1 : 0);
  }
}
