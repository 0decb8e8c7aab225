import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.redisson.Redisson;
import org.redisson.api.RBlockingQueue;
import org.redisson.api.RCountDownLatch;
import org.redisson.api.RLock;
import org.redisson.api.RMap;
import org.redisson.api.RMapCache;
import org.redisson.api.RPermitExpirableSemaphore;
import org.redisson.api.RReadWriteLock;
import org.redisson.api.RScoredSortedSet;
import org.redisson.api.RSemaphore;
import org.redisson.api.RedissonClient;
import org.redisson.api.map.event.EntryCreatedListener;
import org.redisson.client.codec.StringCodec;
import org.redisson.config.Config;

/**
 * Redisson's locks, synchronizers and collections, by two clients at once. Names with several keys have a tag, so
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
      Report.run("Redisson read-write lock wakes who waits", both::readersAndWritersWait);
      Report.run("Redisson read-write lock contention", both::readersAndWritersContend);
      Report.run("Redisson RSemaphore", both::semaphore);
      Report.run("Redisson RPermitExpirableSemaphore", both::expiringSemaphore);
      Report.run("Redisson RCountDownLatch", both::countDownLatch);
      Report.run("Redisson RMapCache", both::mapCache);
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
    refused(other);
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

  /** Readers together, a writer alone; a writer may read, a reader may not write. */
  private void readersAndWriters() throws Exception {
    RReadWriteLock lock = mine.getReadWriteLock("{rw}lock");
    RReadWriteLock other = theirs.getReadWriteLock("{rw}lock");
    lock.readLock().lock(30, TimeUnit.SECONDS);
    Report.ok(lock.readLock().tryLock() && lock.readLock().getHoldCount() == 2, "a reader may read again");
    Report.ok(!lock.writeLock().tryLock(), "a reader became a writer");
    Report.ok(other.readLock().tryLock(), "a second reader was refused");
    Report.ok(!other.writeLock().tryLock(), "a writer beside readers");
    refused(other.writeLock());
    other.readLock().unlock();
    lock.readLock().unlock();
    Report.ok(lock.readLock().isHeldByCurrentThread() && !other.writeLock().tryLock(), "one release of two ended a reader");
    lock.readLock().unlock();
    Report.ok(!lock.readLock().isLocked(), "the readers' lock was not released");
    Report.ok(other.writeLock().tryLock() && other.writeLock().tryLock(), "a writer may write again");
    Report.ok(!lock.readLock().tryLock() && !lock.writeLock().tryLock(), "somebody beside a writer");
    refused(lock.writeLock());
    other.writeLock().unlock();
    Report.ok(!lock.readLock().tryLock(), "one release of two ended a writer");
    // Who writes may read, and goes on reading when it has ceased to write.
    Report.ok(other.readLock().tryLock(), "a writer may not read");
    other.writeLock().unlock();
    Report.ok(lock.readLock().tryLock() && !lock.writeLock().tryLock(), "the writer did not become a reader");
    lock.readLock().unlock();
    other.readLock().unlock();
    Report.ok(lock.writeLock().tryLock(), "the lock was not released");
    lock.writeLock().unlock();
    Report.same(0L, mine.getKeys().countExists("{rw}lock"));
  }

  private static void refused(RLock lock) {
    try {
      lock.unlock();
      throw new IllegalStateException("a lock was released by who does not own it");
    } catch (IllegalMonitorStateException error) {
      // As it should be.
    }
  }

  /** Who waits is told by a message: the holder's time is far longer than the wait. */
  private void readersAndWritersWait() throws Exception {
    RReadWriteLock lock = mine.getReadWriteLock("{rww}lock");
    RReadWriteLock other = theirs.getReadWriteLock("{rww}lock");
    // A writer waits for two readers.
    lock.readLock().lock(300, TimeUnit.SECONDS);
    Report.ok(lock.readLock().tryLock(), "a reader may read again");
    ExecutorService waiting = Executors.newFixedThreadPool(2);
    Future<Boolean> writer = waiting.submit(() -> {
      boolean has = other.writeLock().tryLock(SECONDS_MAX, 300, TimeUnit.SECONDS);
      // Readers wait for this writer, and are woken together.
      other.writeLock().unlock();
      return has;
    });
    lock.readLock().unlock();
    Report.ok(!writer.isDone(), "a writer beside a reader");
    lock.readLock().unlock();
    Report.ok(writer.get(SECONDS_MAX, TimeUnit.SECONDS), "the writer was not woken");
    lock.writeLock().lock(300, TimeUnit.SECONDS);
    CyclicBarrier both = new CyclicBarrier(2);
    Callable<Boolean> reader = () -> {
      boolean has = other.readLock().tryLock(SECONDS_MAX, 300, TimeUnit.SECONDS);
      both.await(SECONDS_MAX, TimeUnit.SECONDS);
      other.readLock().unlock();
      return has;
    };
    List<Future<Boolean>> readers = List.of(waiting.submit(reader), waiting.submit(reader));
    Report.ok(lock.writeLock().isHeldByCurrentThread() && both.getNumberWaiting() == 0, "a reader beside a writer");
    lock.writeLock().unlock();
    for (Future<Boolean> each : readers) {
      Report.ok(each.get(SECONDS_MAX, TimeUnit.SECONDS), "the readers were not woken together");
    }
    Report.ok(!lock.writeLock().isLocked() && !lock.readLock().isLocked(), "the lock was not released");
    waiting.shutdown();
  }

  /** Writers add to a counter in two steps; readers never see the step between, and are there together. */
  private void readersAndWritersContend() throws Exception {
    AtomicInteger writing = new AtomicInteger();
    AtomicInteger reading = new AtomicInteger();
    AtomicInteger together = new AtomicInteger();
    RMap<String, String> counts = mine.getMap("pair");
    counts.putAll(Map.of("one", "0", "two", "0"));
    int laps = 5;
    together(8, number -> {
      RReadWriteLock lock = (number % 2 == 0 ? mine : theirs).getReadWriteLock("{rwc}lock");
      RLock side = number < 2 ? lock.writeLock() : lock.readLock();
      for (int lap = 0; lap < laps; lap++) {
        side.lock(30, TimeUnit.SECONDS);
        if (number < 2) {
          Report.ok(writing.incrementAndGet() == 1 && reading.get() == 0, "somebody beside a writer");
          String next = Integer.toString(Integer.parseInt(counts.get("one")) + 1);
          counts.put("one", next);
          counts.put("two", next);
          writing.decrementAndGet();
        } else {
          together.accumulateAndGet(reading.incrementAndGet(), Math::max);
          Report.same(0, writing.get());
          Report.same(1, new HashSet<>(counts.readAllMap().values()).size());
          reading.decrementAndGet();
        }
        side.unlock();
      }
    });
    Report.same(Map.of("one", "" + 2 * laps, "two", "" + 2 * laps), counts.readAllMap());
    Report.ok(together.get() > 1, "no two readers were there at once");
  }

  /** Permits go from one client to the other; a waiter is told by a message. */
  private void semaphore() throws Exception {
    RSemaphore permits = mine.getSemaphore("{s}emaphore");
    RSemaphore other = theirs.getSemaphore("{s}emaphore");
    Report.ok(permits.trySetPermits(2) && !other.trySetPermits(5), "permits are set once");
    Report.ok(permits.tryAcquire(2) && !other.tryAcquire() && other.availablePermits() == 0, "more permits than there are");
    ExecutorService waiting = Executors.newSingleThreadExecutor();
    Future<Boolean> next = waiting.submit(() -> other.tryAcquire(2, Duration.ofSeconds(SECONDS_MAX)));
    permits.release();
    Report.ok(!next.isDone(), "one permit was two");
    permits.release();
    Report.ok(next.get(SECONDS_MAX, TimeUnit.SECONDS), "who waited for permits did not get them");
    waiting.shutdown();
    Report.same(0, permits.drainPermits());
    permits.addPermits(3);
    Report.same(3, other.drainPermits());
    Report.ok(permits.delete(), "there was no semaphore");
    AtomicInteger inside = new AtomicInteger();
    permits.trySetPermits(3);
    together(8, number -> {
      RSemaphore mineOrTheirs = number % 2 == 0 ? permits : other;
      for (int lap = 0; lap < 5; lap++) {
        mineOrTheirs.acquire();
        Report.ok(inside.incrementAndGet() <= 3, "more than three inside");
        inside.decrementAndGet();
        mineOrTheirs.release();
      }
    });
    Report.same(3, permits.availablePermits());
  }

  /** A permit that ends by itself, and ones that are given back by their names. */
  private void expiringSemaphore() throws Exception {
    RPermitExpirableSemaphore permits = mine.getPermitExpirableSemaphore("{es}emaphore");
    RPermitExpirableSemaphore other = theirs.getPermitExpirableSemaphore("{es}emaphore");
    Report.ok(permits.trySetPermits(1), "permits are set once");
    String permit = permits.acquire(300, TimeUnit.MILLISECONDS);
    Report.ok(permit != null && other.tryAcquire() == null, "more permits than there are");
    String next = other.tryAcquire(SECONDS_MAX, 30, TimeUnit.SECONDS);
    Report.ok(next != null && !permits.tryRelease(permit), "a permit did not end with its time");
    other.release(next);
    Report.same(1, permits.availablePermits());
  }

  /**
   * Those that wait at the latch are let go together. Its name has no tag: Redisson puts it in braces in the channel's name,
   * which with a tag in it is a name of another slot.
   */
  private void countDownLatch() throws Exception {
    RCountDownLatch latch = mine.getCountDownLatch("latch");
    RCountDownLatch other = theirs.getCountDownLatch("latch");
    Report.ok(latch.trySetCount(2) && !other.trySetCount(3), "a count is set once");
    ExecutorService waiting = Executors.newFixedThreadPool(2);
    List<Future<Boolean>> waiters = List.of(
        waiting.submit(() -> latch.await(SECONDS_MAX, TimeUnit.SECONDS)),
        waiting.submit(() -> other.await(SECONDS_MAX, TimeUnit.SECONDS)));
    other.countDown();
    Report.same(1L, latch.getCount());
    Report.ok(waiters.stream().noneMatch(Future::isDone), "the latch opened early");
    latch.countDown();
    for (Future<Boolean> waiter : waiters) {
      Report.ok(waiter.get(SECONDS_MAX, TimeUnit.SECONDS), "the latch did not open");
    }
    waiting.shutdown();
    Report.same(0L, latch.getCount());
  }

  /** A map whose entries end by themselves, or because nobody reads them; a listener hears of what is put. */
  private void mapCache() throws Exception {
    RMapCache<String, String> cache = mine.getMapCache("{mc}cache");
    RMapCache<String, String> other = theirs.getMapCache("{mc}cache");
    LinkedBlockingQueue<String> heard = new LinkedBlockingQueue<>();
    other.addListener((EntryCreatedListener<String, String>) event -> heard.add(event.getKey()));
    Report.same(null, cache.put("long", "1", 30, TimeUnit.SECONDS));
    Report.same("long", heard.poll(SECONDS_MAX, TimeUnit.SECONDS));
    Report.same("1", other.put("long", "2", 30, TimeUnit.SECONDS));
    Report.ok(cache.fastPut("short", "1", 200, TimeUnit.MILLISECONDS), "fastPut tells whether the field is new");
    Report.same("1", cache.putIfAbsent("short", "2", 30, TimeUnit.SECONDS));
    Report.same(null, cache.put("idle", "1", 30, TimeUnit.SECONDS, 200, TimeUnit.MILLISECONDS));
    Report.ok(cache.remainTimeToLive("long") > 20_000, "the entry's time is too short");
    Report.until(() -> other.get("short") == null, "an entry to end with its time");
    // Asking for its value would keep the idle one alive.
    Report.until(() -> other.remainTimeToLive("idle") == -2, "an entry that nobody reads to end");
    Report.same(Map.of("long", "2"), cache.readAllMap());
    Report.ok(cache.replace("long", "2", "3") && other.remove("long", "3"), "replace and remove compare");
    Report.same(null, cache.putIfAbsent("short", "again"));
    Report.same(1L, other.fastRemove("short", "none"));
    Report.same(Set.of(), cache.readAllKeySet());
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
