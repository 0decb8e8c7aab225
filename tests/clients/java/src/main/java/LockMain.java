import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import org.redisson.Redisson;
import org.redisson.api.RLock;
import org.redisson.api.RedissonClient;
import org.redisson.client.RedisException;
import org.redisson.client.RedisNodeNotFoundException;
import org.redisson.client.codec.StringCodec;
import org.redisson.config.Config;
import org.redisson.config.ReadMode;
import org.redisson.config.ShardedSubscriptionMode;
import org.redisson.config.SubscriptionMode;

/**
 * One process with Redisson's locks, told by lines what to do; run by tests/cluster/redisson.py, which kills nodes meanwhile.
 *
 * <pre>
 * usage: LockMain (single HOST:PORT | cluster HOST:PORT,…) WATCHDOG_MS
 *   lock   THREAD KIND NAME FILE   the thread waits for the lock, for as long as it takes, and holds it: `held THREAD OWNER`
 *   unlock THREAD                  the thread lets go of it: `released THREAD ERRORS`
 *   loop   THREAD KIND NAME FILE   the thread takes it for 30 s and releases it at once, again and again
 *   stop   THREAD                  … until now: `stopped THREAD LAPS ERRORS`
 * </pre>
 *
 * ERRORS counts what had to be asked again; a client of Redisson's that is lost for good (see `Place.isDeaf`) is replaced, and
 * `replaced` says so. KIND is `plain` or `fair`, OWNER the holder's name in the store. What goes wrong is told as `failed THREAD WHY`. The first
 * line is `ready`. A thread appends `enter THREAD NS` to FILE once it has the lock, and `leave THREAD NS` before it gives it back,
 * where NS is the machine's monotonic clock: by the order of the lines one sees from outside who held it.
 */
public final class LockMain {
  private static final int INSIST_SECONDS_MAX = 30;
  private static final int LEASE_SECONDS = 30;
  /** Each request chooses its master anew: more than so many in a row do not end at one that has just been given up. */
  private static final int SHUTDOWNS_MAX = 5;

  private final Supplier<RedissonClient> connect;
  private final Map<String, Place> places = new ConcurrentHashMap<>();
  private volatile RedissonClient client;

  private LockMain(Supplier<RedissonClient> connect) {
    this.connect = connect;
    this.client = connect.get();
  }

  /** The client that is used in place of a lost one. Who holds a lock by that one gives it back by that one. */
  private synchronized RedissonClient replace(RedissonClient lost) {
    if (client == lost) {
      client = connect.get();
      tell("replaced");
    }
    return client;
  }

  private static RedissonClient connect(String mode, String nodes, long watchdogMs) {
    Config config = new Config();
    config.setCodec(StringCodec.INSTANCE).setLockWatchdogTimeout(watchdogMs);
    if (mode.equals("single")) {
      config.useSingleServer().setAddress("redis://" + nodes).setConnectionMinimumIdleSize(2)
          .setSubscriptionConnectionMinimumIdleSize(1).setTimeout(10_000);
    } else {
      // What is asked of a node that is gone Redisson asks again of the same node, whatever the map says by then, and the lock's
      // scripts throw once that was tried often enough: soon, as they are asked again here. Not with SSUBSCRIBE: when a slot goes to another master, Redisson (3.45.1, 4.7.0) subscribes again with a codec
      // that is null and never hears of that lock again, on Redis Cluster as well.
      var cluster = config.useClusterServers().setShardedSubscriptionMode(ShardedSubscriptionMode.OFF).setScanInterval(500)
          .setTimeout(2_000).setSubscriptionTimeout(3_000).setRetryAttempts(3).setRetryInterval(200).setConnectTimeout(1_000)
          .setReadMode(ReadMode.MASTER).setSubscriptionMode(SubscriptionMode.MASTER).setMasterConnectionMinimumIdleSize(2)
          .setSubscriptionConnectionMinimumIdleSize(1);
      for (String node : nodes.split(",")) {
        cluster.addNodeAddress("redis://" + node);
      }
    }
    return Redisson.create(config);
  }

  private static synchronized void tell(String line) {
    System.out.println(line);
    System.out.flush();
  }

  /** A thread that does one thing after the other: the owner of its lock. */
  private final class Place extends Thread {
    private final LinkedBlockingQueue<String> words = new LinkedBlockingQueue<>();
    private final Path file;
    private final String kind;
    private final String lockName;
    private RedissonClient own = client;
    private RLock lock;
    private boolean isDeaf;
    private int shutdowns;
    private int errors;

    Place(String name, String kind, String lockName, String file) {
      super(name);
      this.file = Path.of(file);
      this.kind = kind;
      this.lockName = lockName;
      this.lock = lockOf(own);
      setDaemon(true);
    }

    private RLock lockOf(RedissonClient client) {
      return kind.equals("fair") ? client.getFairLock(lockName) : client.getLock(lockName);
    }

    private void write(String what) throws IOException {
      String line = what + " " + getName() + " " + System.nanoTime() + "\n";
      Files.write(file, line.getBytes(StandardCharsets.US_ASCII), StandardOpenOption.APPEND);
    }

    /** Asks again when a connection breaks: Redisson itself does not, so that nothing is taken or released twice. */
    private void insist(Runnable ask) throws InterruptedException {
      long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(INSIST_SECONDS_MAX);
      while (true) {
        try {
          ask.run();
          shutdowns = 0;
          return;
        } catch (RedisException error) {
          errors++;
          isDeaf |= isDeaf(error);
          if (System.nanoTime() > end) {
            throw error;
          }
          Thread.sleep(20);
        }
      }
    }

    /**
     * Whether the client will never hear of this lock again. Redisson 3.45.1 knows no master of a slot for a moment while the slot
     * goes from one to another, or for longer if it cannot reach the other. Who subscribes at that moment is told so, but
     * `PublishSubscribeService.subscribeNoTimeout` does not release the channel's semaphore then: that error comes once, and
     * from then on whoever waits for the lock is told that the subscription took too long. That is so on Redis Cluster too.
     * Either is told before the lock was granted.
     *
     * Or it has shut a master down and sends to it for good: `ClusterConnectionManager.checkSlotsMigration` does so if a master
     * loses all its slots and gets others between two looks at the map.
     */
    private boolean isDeaf(RedisException error) {
      String why = String.valueOf(error.getMessage());
      shutdowns = why.equals("RedisClient is shutdown") ? shutdowns + 1 : 0;
      return shutdowns > SHUTDOWNS_MAX || error instanceof RedisNodeNotFoundException && why.startsWith("Node for name: redisson_lock__channel")
              && why.contains(" slot: ")
          || own != client && why.startsWith("Unable to acquire subscription lock");
    }

    private void take(boolean loops) {
      if (isDeaf) {
        own = replace(own);
        lock = lockOf(own);
        isDeaf = false;
        shutdowns = 0;
      }
      if (loops) {
        // With a time of its own: the watchdog of Redisson 3.45 trips over locks that are released while it looks.
        lock.lock(LEASE_SECONDS, TimeUnit.SECONDS);
      } else {
        lock.lock();
      }
    }

    /** Until it is not held: what was asked twice may have been granted twice. */
    private void release() {
      while (lock.isHeldByCurrentThread()) {
        lock.unlock();
      }
    }

    @Override
    @SuppressWarnings("deprecation") // The other way to ask for a thread's number came with Java 19.
    public void run() {
      try {
        boolean loops = words.take().equals("loop");
        int laps = 0;
        do {
          insist(() -> take(loops));
          write("enter");
          if (!loops) {
            tell("held " + getName() + " " + ((Redisson) own).getId() + ":" + getId());
            words.take();
          }
          write("leave");
          insist(this::release);
          laps++;
        } while (loops && words.isEmpty());
        tell(loops ? "stopped " + getName() + " " + laps + " " + errors : "released " + getName() + " " + errors);
      } catch (Exception error) {
        tell(("failed " + getName() + " " + error).replace('\n', ' '));
      }
    }
  }

  private void obey(String[] words) {
    Place place = words.length == 5
        ? places.computeIfAbsent(words[1], name -> new Place(name, words[2], words[3], words[4]))
        : places.remove(words[1]);
    place.words.add(words[0]);
    if (words.length == 5) {
      place.start();
    }
  }

  public static void main(String[] args) throws IOException {
    LockMain main = new LockMain(() -> connect(args[0], args[1], Long.parseLong(args[2])));
    tell("ready");
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      main.obey(line.split(" "));
    }
    System.exit(0);
  }
}
