import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.redisson.Redisson;
import org.redisson.api.RBlockingQueue;
import org.redisson.api.RLock;
import org.redisson.api.RMap;
import org.redisson.api.RReadWriteLock;
import org.redisson.api.RScoredSortedSet;
import org.redisson.api.RedissonClient;
import org.redisson.client.RedisException;
import org.redisson.client.codec.StringCodec;
import org.redisson.config.Config;

/**
 * Redisson's locks and collections, by two clients at once. Names with several keys have a tag, so
 * that a lock's queue and channel lie in its slot.
 */
final class Redissons implements AutoCloseable {
  private static final int SECONDS_MAX = 20;

  private final RedissonClient mine;
  private final RedissonClient theirs;

  private Redissons(int mine, int theirs) {
    this.mine = connect(mine);
    this.theirs = connect(theirs);
  }

  private static RedissonClient connect(int port) {
    Config config = new Config();
    config.setCodec(StringCodec.INSTANCE);
    config.useSingleServer().setAddress("redis://127.0.0.1:" + port).setConnectionMinimumIdleSize(2)
        .setSubscriptionConnectionMinimumIdleSize(1).setTimeout(10_000);
    return Redisson.create(config);
  }

  static void run(int port) {
    try (Redissons both = new Redissons(port, port)) {
      Report.run("Redisson RLock", () -> both.held(both.mine.getLock("lock"), both.theirs.getLock("lock")));
      Report.run("Redisson fair lock", () ->
          both.held(both.mine.getFairLock("{fair}lock"), both.theirs.getFairLock("{fair}lock")));
      Report.run("Redisson RLock contention", () -> both.contention(client -> client.getLock("busy")));
      Report.run("Redisson fair lock contention", () -> both.contention(client -> client.getFairLock("{busy}fair")));
      Report.run("Redisson read-write lock", both::readersAndWriters);
      Report.run("Redisson RBlockingQueue", both::blockingQueue);
      Report.run("Redisson RMap", both::map);
      Report.run("Redisson RScoredSortedSet", both::sortedSet);
    }
  }

  /** Held twice by one thread, refused to another client, and handed over when it is free. */
  private void held(RLock lock, RLock other) throws Exception {
    lock.lock(30, TimeUnit.SECONDS);
    Report.ok(lock.tryLock() && lock.getHoldCount() == 2, "a holder may hold it again");
    Report.ok(!other.tryLock() && other.isLocked() && !other.isHeldByCurrentThread(), "a lock had two holders");
    Report.ok(lock.remainTimeToLive() > 20_000, "the lock's time is too short: " + lock.remainTimeToLive());
    try {
      other.unlock();
      throw new IllegalStateException("a lock was released by who does not own it");
    } catch (IllegalMonitorStateException refused) {
      // As it should be.
    }
    ExecutorService waiting = Executors.newSingleThreadExecutor();
    Future<Boolean> next = waiting.submit(() -> other.tryLock(SECONDS_MAX, 30, TimeUnit.SECONDS));
    lock.unlock();
    Report.ok(lock.isHeldByCurrentThread() && !next.isDone(), "one release of two ended the lock");
    lock.unlock();
    Report.ok(next.get(SECONDS_MAX, TimeUnit.SECONDS), "who waited did not get the lock");
    Report.ok(!lock.tryLock(), "a lock had two holders");
    waiting.submit(other::unlock).get(SECONDS_MAX, TimeUnit.SECONDS);
    Report.ok(!lock.isLocked(), "the lock was not released");
    waiting.shutdown();
    // Its time ends by itself, and whoever waits then gets it.
    lock.lock(200, TimeUnit.MILLISECONDS);
    Report.ok(other.tryLock(SECONDS_MAX, 30, TimeUnit.SECONDS), "a lock did not end with its time");
    other.unlock();
  }

  interface LockOf {
    RLock of(RedissonClient client);
  }

  /** A counter that loses additions unless only one thread at a time reads and writes it. */
  private void contention(LockOf lockOf) throws Exception {
    AtomicInteger inside = new AtomicInteger();
    RMap<String, String> counts = mine.getMap("counts");
    counts.put("n", "0");
    int threads = 8;
    int laps = 6;
    together(threads, number -> {
      RLock lock = lockOf.of(number % 2 == 0 ? mine : theirs);
      for (int lap = 0; lap < laps; lap++) {
        lock.lock(30, TimeUnit.SECONDS);
        Report.same(1, inside.incrementAndGet());
        int before = Integer.parseInt(counts.get("n"));
        counts.put("n", Integer.toString(before + 1));
        inside.decrementAndGet();
        lock.unlock();
      }
    });
    Report.same(Integer.toString(threads * laps), counts.get("n"));
  }

  interface Work {
    void run(int number) throws Exception;
  }

  private static void together(int count, Work work) throws Exception {
    ExecutorService threads = Executors.newFixedThreadPool(count);
    List<Callable<Void>> all = new ArrayList<>();
    for (int at = 0; at < count; at++) {
      int number = at;
      all.add(() -> {
        work.run(number);
        return null;
      });
    }
    for (Future<Void> done : threads.invokeAll(all, 2 * SECONDS_MAX, TimeUnit.SECONDS)) {
      done.get();
    }
    threads.shutdown();
  }

  private void readersAndWriters() throws Exception {
    RReadWriteLock lock = mine.getReadWriteLock("{rw}lock");
    RReadWriteLock other = theirs.getReadWriteLock("{rw}lock");
    try {
      lock.readLock().lock(30, TimeUnit.SECONDS);
    } catch (RedisException refused) {
      // Its scripts put names together that they do not declare: a store that locks what is declared
      // must say so.
      Report.ok(refused.getMessage().contains("non declared key"), refused.getMessage());
      return;
    }
    Report.ok(other.readLock().tryLock(), "a second reader was refused");
    Report.ok(!other.writeLock().tryLock(), "a writer beside readers");
    other.readLock().unlock();
    lock.readLock().unlock();
    Report.ok(other.writeLock().tryLock(), "a writer was refused although nobody reads");
    Report.ok(!lock.readLock().tryLock() && !lock.writeLock().tryLock(), "somebody beside a writer");
    // Who writes may read, and goes on reading when it has ceased to write.
    Report.ok(other.readLock().tryLock(), "a writer may not read");
    other.writeLock().unlock();
    Report.ok(lock.readLock().tryLock() && !lock.writeLock().tryLock(), "the writer did not become a reader");
    lock.readLock().unlock();
    other.readLock().unlock();
    Report.ok(lock.writeLock().tryLock(), "the lock was not released");
    lock.writeLock().unlock();
  }

  private void blockingQueue() throws Exception {
    RBlockingQueue<String> queue = mine.getBlockingQueue("{q}tasks");
    RBlockingQueue<String> ends = theirs.getBlockingQueue("{q}tasks");
    int count = 300;
    Set<String> taken = java.util.Collections.synchronizedSet(new HashSet<>());
    AtomicInteger handed = new AtomicInteger();
    together(5, number -> {
      if (number == 0) {
        for (int task = 0; task < count; task++) {
          queue.add(Integer.toString(task));
        }
        return;
      }
      for (String task = ends.poll(2, TimeUnit.SECONDS); task != null; task = ends.poll(2, TimeUnit.SECONDS)) {
        handed.incrementAndGet();
        taken.add(task);
      }
    });
    Report.same(count, handed.get());
    Report.same(count, taken.size());
    queue.add("last");
    Report.same("last", ends.pollLastAndOfferFirstTo("{q}done", 5, TimeUnit.SECONDS));
    Report.same(List.of("last"), mine.getList("{q}done").readAll());
  }

  private void map() {
    RMap<String, String> map = mine.getMap("{m}map");
    Report.same(null, map.put("a", "1"));
    Report.same("1", map.put("a", "2"));
    Report.same("2", map.putIfAbsent("a", "3"));
    Report.ok(map.fastPut("b", "1") && !map.fastPut("b", "2"), "fastPut tells whether the field is new");
    map.putAll(Map.of("c", "3", "d", "4"));
    Report.same(Map.of("a", "2", "b", "2", "c", "3", "d", "4"), theirs.<String, String>getMap("{m}map").readAllMap());
    Report.ok(map.replace("a", "2", "5") && !map.replace("a", "2", "6"), "replace compares");
    Report.same("5", map.remove("a"));
    Report.same(2L, map.fastRemove("b", "c", "none"));
    Report.same(Set.of("d"), map.readAllKeySet());
    for (int number = 0; number < 1000; number++) {
      map.putAsync("n" + number, "x");
    }
    int seen = 0;
    while (map.size() < 1001) {
      Thread.onSpinWait();
    }
    for (String ignored : map.keySet(100)) {
      seen++;
    }
    Report.same(1001, seen);
  }

  private void sortedSet() {
    RScoredSortedSet<String> set = mine.getScoredSortedSet("{z}set");
    Report.ok(set.add(2, "b") && set.add(1, "a") && !set.add(3, "a"), "add tells whether the member is new");
    Report.same(4, set.addAll(Map.of("c", 5.0, "d", 6.5, "e", 7.0, "f", 8.0)));
    Report.same(List.of("b", "a", "c"), new ArrayList<>(set.valueRange(0, 2)));
    Report.same(List.of("c", "d"), new ArrayList<>(set.valueRange(5, true, 7, false)));
    Report.same(6.5, set.getScore("d"));
    Report.same(4.5, set.addScore("b", 2.5));
    Report.same(1, set.rank("b"));
    Report.same("a", set.pollFirst());
    Report.same("f", set.pollLast(5, TimeUnit.SECONDS));
    Report.same(2, set.removeRangeByScore(5, true, 6.5, true));
    Report.same(List.of("b", "e"), new ArrayList<>(set.readAll()));
  }

  @Override
  public void close() {
    mine.shutdown();
    theirs.shutdown();
  }
}
