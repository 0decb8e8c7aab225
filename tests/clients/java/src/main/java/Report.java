import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** One line per scenario, the same in every language of tests/clients: `ok NAME` or `FAILED NAME: why`. */
final class Report {
  /** A client that waits for ever must not hold up the others. */
  private static final int SCENARIO_SECONDS_MAX = 60;

  static int passed;
  static int failed;

  interface Scenario {
    void run() throws Exception;
  }

  static void run(String name, Scenario scenario) {
    FutureTask<Void> task = new FutureTask<>(() -> {
      scenario.run();
      return null;
    });
    Thread thread = new Thread(task, name);
    thread.setDaemon(true);
    thread.start();
    try {
      task.get(SCENARIO_SECONDS_MAX, TimeUnit.SECONDS);
      passed++;
      System.out.println("ok " + name);
    } catch (ExecutionException failure) {
      report(name, failure.getCause());
    } catch (TimeoutException | InterruptedException late) {
      report(name, new IllegalStateException("not done in " + SCENARIO_SECONDS_MAX + " s"));
    }
  }

  private static void report(String name, Throwable problem) {
    failed++;
    String place = "";
    for (StackTraceElement frame : problem.getStackTrace()) {
      if ("Main".equals(frame.getClassName())) {
        place = " at Main.java:" + frame.getLineNumber();
        break;
      }
    }
    System.out.println(("FAILED " + name + ": " + problem + place).replace('\n', ' '));
  }

  static void same(Object expected, Object got) {
    if (!Objects.equals(expected, got)) {
      throw new IllegalStateException("got " + got + ", want " + expected);
    }
  }

  static void ok(boolean condition, String what) {
    if (!condition) {
      throw new IllegalStateException(what);
    }
  }

  /** Asks again until the condition holds: no fixed sleeps. */
  static void until(Callable<Boolean> condition, String what) throws Exception {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
    while (!condition.call()) {
      ok(System.nanoTime() < end, "waited in vain for " + what);
      Thread.sleep(5);
    }
  }

  private Report() {}
}
