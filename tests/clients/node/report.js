// One line per scenario, the same in every language of tests/clients: `ok NAME` or `FAILED NAME: why`.

export const counts = { passed: 0, failed: 0 };

// How long one scenario may take: a client that waits for ever must not hold up the others.
const SCENARIO_MS_MAX = 60_000;

export async function run(name, scenario) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done in ${SCENARIO_MS_MAX} ms`)), SCENARIO_MS_MAX);
  });
  try {
    await Promise.race([scenario(), late]);
    counts.passed += 1;
    console.log(`ok ${name}`);
  } catch (error) {
    counts.failed += 1;
    const place = (error.stack ?? "").split("\n").find((line) => line.includes("/clients/node/") && !line.includes("node_modules"));
    console.log(`FAILED ${name}: ${String(error.message ?? error).replaceAll("\n", " ")} ${(place ?? "").trim()}`);
  } finally {
    clearTimeout(timer);
  }
}

// Asks again until `condition` holds: no fixed sleeps.
export async function until(condition, what) {
  const end = Date.now() + 10_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
