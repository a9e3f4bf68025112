/** The arithmetic of the bench, on values whose answers are known. */
import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { slugOf } from "../../../bench/machine.ts";
import { figure, reportSection } from "../../../bench/report.ts";
import { format, toGroup, writeResults, type Section } from "../../../bench/results.ts";
import { measure, orderOf, type Contest, type Readings, type Round } from "../../../bench/rounds.ts";
import { readSettings, sectionNames } from "../../../bench/settings.ts";
import { median, medianInterval, quantile, summarise } from "../../../bench/stats.ts";
import {
  parseBusySeconds,
  parseCpuList,
  parseProcessStat,
  parseWaited,
  usageOf,
  waitedSeconds,
  watchForeign,
} from "../../../bench/usage.ts";

const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

describe("a median", () => {
  test("is the middle value, or the mean of the two in the middle, in whatever order they come", () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([10, 9, 100])).toBe(10);
    expect(median([])).toBeNaN();
  });

  test("is one quantile among others, which are interpolated", () => {
    expect(quantile(upTo(101), 0.99)).toBe(100);
    expect(quantile([0, 10], 0.25)).toBe(2.5);
    expect([quantile([5], 0), quantile([5], 1)]).toEqual([5, 5]);
    expect([quantile(upTo(9), 0), quantile(upTo(9), 1)]).toEqual([1, 9]);
  });

  test("leaves the values in their order", () => {
    const values = [3, 1, 2];
    summarise(values);
    expect(values).toEqual([3, 1, 2]);
  });

  // Ranks as in published tables of the binomial distribution at one half.
  test.each([
    [6, 1, 6],
    [9, 2, 8],
    [10, 2, 9],
    [20, 6, 15],
    [24, 7, 18],
    [25, 8, 18],
    [50, 18, 33],
    [100, 40, 61],
  ])("of %i values lies between the ranks %i and %i with 95 %% confidence", (n, low, high) => {
    expect(medianInterval(upTo(n).toReversed())).toEqual([low, high]);
  });

  test("has no 95 % interval in fewer than six values", () => {
    for (const n of [0, 1, 5]) expect(medianInterval(upTo(n))).toBeUndefined();
    expect(summarise(upTo(5)).interval).toBeNull();
  });

  test("lies in its interval at least as often as promised", () => {
    // A fixed sequence of 2000 samples of 20 from a lopsided distribution, whose median is the logarithm of two.
    let state = 12345;
    const uniform = (): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state + 0.5) / 2 ** 32;
    };
    let held = 0;
    for (let i = 0; i < 2000; i++) {
      const [low, high] = medianInterval(Array.from({ length: 20 }, () => -Math.log(uniform())))!;
      if (low <= Math.LN2 && Math.LN2 <= high) held++;
    }
    expect(held / 2000).toBeGreaterThan(0.945);
    expect(held / 2000).toBeLessThan(0.975);
  });
});

describe("rounds", () => {
  test.each([2, 3, 5])("put each of %i variants at every place equally often", (n) => {
    const names = upTo(n);
    const orders = Array.from({ length: 2 * n }, (_, round) => orderOf(names, round));
    for (const order of orders) expect(new Set(order)).toEqual(new Set(names));
    for (let place = 0; place < n; place++)
      expect(orders.map((order) => order[place]!).toSorted((a, b) => a - b)).toEqual(
        names.flatMap((name) => [name, name]),
      );
    // A variant that runs before another half of the time runs after it the other half.
    const follows = (a: number, b: number): number =>
      orders.filter((order) => order.indexOf(b) === order.indexOf(a) + 1).length;
    for (const a of names) for (const b of names) expect(follows(a, b)).toBe(follows(b, a));
  });

  const closed: number[] = [];
  const run = (
    shares: readonly number[],
    { rounds, starts, quick = false, enough }: { rounds: number; starts: number; quick?: boolean; enough?: number },
  ) => {
    const left = [...shares];
    const variant = (name: string) => ({ name, run: () => Promise.resolve({ "ms/step": name.length }) });
    const contest: Contest = {
      name: "a contest",
      primary: "ms/step",
      better: "lower",
      columns: ["ms/step"],
      variants: [variant("a"), variant("bb")],
      ...(enough !== undefined && { rounds: enough }),
    };
    const open = (start: number) =>
      Promise.resolve({ contests: [contest], pids: [], close: () => Promise.resolve(void closed.push(start)) });
    const watch: typeof watchForeign = () => () => left.shift() ?? 0;
    return measure(open, starts, { rounds, quick }, () => undefined, watch);
  };

  test("in which others used the CPUs are dropped, counted and measured again", async () => {
    const [measured] = await run([0.01, 0.06, 0.05, 0.5], { rounds: 4, starts: 1 });
    expect(measured).toMatchObject({ dropped: 2 });
    expect(measured!.kept.map(({ foreign }) => foreign)).toEqual([0.01, 0.05, 0, 0]);
  });

  test("are not tried for ever on a machine that is never quiet", async () => {
    const [measured] = await run(
      Array.from({ length: 100 }, () => 0.2),
      { rounds: 3, starts: 1 },
    );
    expect(measured).toMatchObject({ dropped: 6, kept: [] });
    const group = toGroup(measured!);
    expect(group.rounds).toEqual({ kept: 0, dropped: 6, start: [], foreign: [] });
    expect(group.rows).toEqual([
      { variant: "a", measures: {} },
      { variant: "bb", measures: {} },
    ]);
  });

  test("are fewer where a contest says that fewer are enough", async () => {
    const [measured] = await run([], { rounds: 30, starts: 2, enough: 3 });
    expect(measured!.kept.map(({ start }) => start)).toEqual([0, 0, 1]);
    expect(toGroup(measured!).rounds).toMatchObject({ kept: 3, enough: 3 });
    expect((await run([], { rounds: 2, starts: 1, enough: 3 }))[0]!.kept).toHaveLength(2);
  });

  test("of a trial are all kept", async () => {
    const [measured] = await run([0.9, 0.9, 0.9], { rounds: 3, starts: 1, quick: true });
    expect(measured!.kept).toHaveLength(3);
  });

  test("are shared out between fresh processes, later ones making up for what earlier ones lacked", async () => {
    closed.length = 0;
    const [even] = await run([], { rounds: 7, starts: 3 });
    expect(even!.kept.map(({ start }) => start)).toEqual([0, 0, 0, 1, 1, 2, 2]);
    expect(closed).toEqual([0, 1, 2]);
    const [uneven] = await run([1, 1, 1, 1], { rounds: 4, starts: 2 });
    expect(uneven!.kept.map(({ start }) => start)).toEqual([1, 1, 1, 1]);
  });
});

describe("figures", () => {
  const round = (start: number, native: number, ours: number): Round => ({
    start,
    foreign: undefined,
    readings: { native: { "ms/step": native } satisfies Readings, ours: { "ms/step": ours } satisfies Readings },
  });
  const stub = { run: () => Promise.reject(new Error("not run here")) };
  const contest: Contest = {
    name: "a contest",
    primary: "ms/step",
    better: "lower",
    reference: "native",
    columns: ["ms/step"],
    variants: [
      { name: "native", ...stub },
      { name: "ours", ...stub },
    ],
  };

  test("compare within a round, and not the medians of all", () => {
    // The machine becomes ten times slower: the ratio of each round says 1.1, 1.2 and 0.9.
    const kept = [round(0, 10, 11), round(0, 20, 24), round(1, 100, 90)];
    const [native, ours] = toGroup({ contest, kept, dropped: 0 }).rows;
    expect(native).toMatchObject({ measures: { "ms/step": { median: 20 } }, ratio: { median: 1 } });
    expect(ours).toMatchObject({
      measures: { "ms/step": { median: 24, values: [11, 24, 90] } },
      ratio: { median: 1.1, values: [1.1, 1.2, 0.9], interval: null },
      ratioByStart: [1.15, 0.9],
    });
  });

  test("stand in a table with their intervals, and the ratio of each start", () => {
    const kept = [round(0, 10, 11), round(0, 20, 24), round(1, 100, 90)];
    const groups = [toGroup({ contest, kept, dropped: 5 }), toGroup({ contest, kept: [], dropped: 7 })];
    const section = { date: "2030-01-01T00:00:00Z", seconds: 9, commit: null, versions: {}, load: [0, 0, 0], groups };
    const lines = reportSection("A title", section).split("\n");
    expect(lines.filter((line) => /^(native|ours) /.test(line))).toEqual([
      "native          20 [-]             1",
      "ours            24 [-]     1.100 [-]     1.150 0.900",
      "native               -             -",
      "ours                 -             -",
    ]);
    expect(lines).toContain("3 rounds in 2 starts, what others used of the CPUs is not known here");
    expect(lines).toContain("no round kept, 7 dropped for others' use of the CPUs");
  });

  test("are refused where a variant left one out", () => {
    const broken = { start: 0, foreign: 0, readings: { native: { "ms/step": 1 }, ours: {} } };
    expect(() => toGroup({ contest, kept: [round(0, 1, 1), broken], dropped: 0 })).toThrow('a round has no "ms/step"');
  });

  test("are printed with four digits, or all before the point", () => {
    expect([0, 0.012345, 3.14159, 115.26, 99_999.6, Number.NaN].map(figure)).toEqual([
      "0",
      "0.01235",
      "3.142",
      "115.3",
      "100,000",
      "-",
    ]);
  });

  test("are written as JSON with each list of numbers in one line", () => {
    const group = toGroup({ contest, kept: [round(0, 10, 11), round(1, 20, 24)], dropped: 0 });
    const machine = { cpu: "x" } as unknown as Parameters<typeof slugOf>[0];
    const section = { date: "", seconds: 0, commit: null, versions: {}, load: [0.5, 1e-7], groups: [group] };
    const results = { schema: 1, machine, sections: { loops: section } } as unknown as Parameters<typeof format>[0];
    const text = format(results);
    expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(results)));
    expect(text).toContain('"values": [11, 24]');
    expect(text).toContain('"foreign": [null, null]');
    expect(text).toContain('"load": [0.5, 1e-7]');
  });

  test("are put beside those of other sections in the file, in the place of older ones", async () => {
    const folder = await mkdtemp(join(tmpdir(), "bench-results-"));
    try {
      const machine = { cpu: "x", cores: 1 } as unknown as Parameters<typeof writeResults>[0];
      const section = (seconds: number): Section => ({
        date: "",
        seconds,
        commit: null,
        versions: {},
        load: [],
        groups: [],
      });
      const write = async (sections: Parameters<typeof writeResults>[1]): Promise<string> =>
        (await writeResults(machine, sections, folder)).file;
      const sectionsIn = async (file: string): Promise<unknown> =>
        (JSON.parse(await readFile(file, "utf8")) as { sections: unknown }).sections;
      await write({ loops: section(1), ops: section(2) });
      const file = await write({ ops: section(3), payload: section(4) });
      expect(file).toBe(join(folder, "x-1-core.json"));
      expect(await sectionsIn(file)).toEqual({ loops: section(1), ops: section(3), payload: section(4) });
      await writeFile(file, "{ not JSON");
      await write({ ops: section(5) });
      expect(await sectionsIn(file)).toEqual({ ops: section(5) });
      expect(await readdir(folder)).toEqual(["x-1-core.json"]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("go to a file named after the kind of machine", () => {
    expect(slugOf({ cpu: "AMD EPYC 7B13", cores: 2 })).toBe("amd-epyc-7b13-2-cores");
    expect(slugOf({ cpu: "Intel Xeon CPU @ 2.20GHz", cores: 1 })).toBe("intel-xeon-cpu-2.20ghz-1-core");
  });
});

describe("what was used", () => {
  test("by a process is read past a name with blanks and parentheses", () => {
    const text = "17 (a) b (c) S 1 17 17 0 -1 4194304 1234 5 6 7 150 50 9 9 20 0 1 0 350191 3133440 373";
    expect(parseProcessStat(text)).toEqual({ minorFaults: 1234, cpuSeconds: 2, childrenSeconds: 0.18 });
  });

  test("waiting for a CPU is the second number of a thread's schedstat", () => {
    expect(parseWaited("3234000 13000 5\n")).toBe(13_000);
    expect(waitedSeconds(2 ** 30)).toBeUndefined();
  });

  test("by everybody is what was not idle, on our CPUs alone", () => {
    const stat = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 100 20 30 5000 700 4 5 41 7 0\ncpu1 900 0 0 0 0 0 0 0 0 0\nintr 5";
    expect(parseBusySeconds(stat, new Set([0]))).toBe(2);
    expect(parseBusySeconds(stat, new Set([0, 1]))).toBe(11);
    expect([...parseCpuList("0-2,5\n")]).toEqual([0, 1, 2, 5]);
  });

  test("by a process of the bench is not foreign, by another one it is", async (context) => {
    if (process.platform !== "linux") context.skip("it looks into /proc, which Linux has");
    const child = spawn(process.execPath, ["-e", "for (;;);"], { stdio: "ignore" });
    try {
      const cpuOf = (): number => usageOf(child.pid!)?.cpuSeconds ?? 0;
      await vi.waitUntil(() => cpuOf() > 0);
      const [known, unknown] = [watchForeign([child.pid!]), watchForeign([])];
      const [start, before] = [performance.now(), cpuOf()];
      await vi.waitUntil(() => cpuOf() - before > 0.3, { timeout: 60_000 });
      const share = (cpuOf() - before) / (((performance.now() - start) / 1000) * availableParallelism());
      // Everything else that runs here is foreign to both.
      expect((unknown() as number) - (known() as number)).toBeGreaterThan(share / 2);
    } finally {
      child.kill("SIGKILL");
    }
  });
});

describe("options", () => {
  test("choose sections and rounds, and too few rounds are refused", () => {
    expect(readSettings([])).toMatchObject({
      quick: false,
      rounds: 24,
      sections: sectionNames,
    });
    expect(readSettings(["--only", "ops", "--only", "loops", "--rounds", "20"])).toMatchObject({
      rounds: 20,
      sections: ["loops", "ops"],
    });
    expect(readSettings(["--quick"])).toMatchObject({ quick: true, rounds: 3 });
    expect(readSettings(["--help"])).toBeUndefined();
    for (const wrong of [
      ["--rounds", "19"],
      ["--rounds", "x"],
      ["--only", "loop"],
      ["--quick", "--rounds", "20"],
      ["extra"],
    ])
      expect(() => readSettings(wrong)).toThrow(/--|extra/);
  });
});
