/** The bench's figures in the pages: each comes from a results file. */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { judge, type Verdict } from "../../../bench/bars.ts";
import { fill, pages } from "../../../bench/pages.ts";
import { readResults, resultsFolder, type Group, type Results } from "../../../bench/results.ts";

const root = new URL("../../../", import.meta.url);

const group = (better: "lower" | "higher", ratio: [number, number], median = ratio[1]): Group => {
  const series = (median: number, interval: [number, number]): Group["rows"][0]["measures"][string] => {
    return { median, interval, p10: median, p90: median, values: [] };
  };
  const name = better === "lower" ? "cnn, batch 16" : "1.5 MiB of uint8";
  const variant = better === "lower" ? "torchwire, a Learner" : "torchwire, memory that is lent";
  return {
    name,
    primary: "x",
    better,
    reference: "plain",
    columns: ["x"],
    facts: {},
    rounds: { kept: 1, dropped: 0, start: [0], foreign: [null] },
    rows: [
      { variant: "plain", measures: { x: series(1234.5, [1000, 2000]) }, ratio: series(1, [1, 1]) },
      { variant, measures: { x: series(2, [1, 3]) }, ratio: series(median, ratio) },
    ],
  };
};

const results = (groups: Partial<Record<"loops" | "payload", Group>>): Results => {
  const about = { seconds: 1, commit: null, load: [], versions: { node: "20.20.2", zeromq: "6" } };
  const sections = Object.entries(groups).map(([name, one]) => [
    name,
    { ...about, date: "2026-01-02T03:04:05Z", groups: [one] },
  ]);
  return {
    schema: 1,
    machine: { cpu: "A CPU", cores: 2 } as Results["machine"],
    sections: Object.fromEntries(sections) as Results["sections"],
  };
};

describe("a marked place", () => {
  test("gets the figures of its section, and is replaced by the next ones", () => {
    const page = "before <!-- bench: loops -->old<!-- end of bench --> after";
    const filled = fill(page, results({ loops: group("lower", [1.05, 1.2]) }));
    expect(filled).toContain("A CPU, 2 cores; node 20.20.2, 2026-01-02");
    expect(filled).toContain("| plain | 1,235 [1,000, 2,000] | 1 |");
    expect(filled).toContain("| torchwire, a Learner | 2 [1, 3] | 1.20 [1.05, 1.20] |");
    expect(filled).not.toContain("old");
    expect(filled.startsWith("before ") && filled.endsWith(" after")).toBe(true);
    const again = fill(filled, results({ loops: group("lower", [1.3, 1.4]) }));
    expect(again).toContain("1.40 [1.30, 1.40]");
    expect(again.match(/torchwire, a Learner/g)).toHaveLength(1);
  });

  test("has a line for what could not be measured, which says why", () => {
    const one = { ...group("lower", [1, 2]), notes: { another: "does not install: no network" } };
    const filled = fill("<!-- bench: loops --><!-- end of bench -->", results({ loops: one }));
    expect(filled).toContain(
      "| torchwire, a Learner | 2 [1, 3] | 2.00 [1.00, 2.00] |\n| another | does not install: no network | - |",
    );
  });

  test("stays as it is where its section was not measured, and must be one of the bench's", () => {
    const page = "<!-- bench: payload -->old<!-- end of bench -->";
    expect(fill(page, results({ loops: group("lower", [1, 2]) }))).toBe(page);
    expect(() => fill("<!-- bench: nothing --><!-- end of bench -->", results({}))).toThrow(/"nothing"/);
  });
});

test("an aim is reached by the median, and missed where the interval does not touch it", () => {
  const verdicts = (one: Results): Verdict[] => judge(one).map(({ verdict }) => verdict);
  const loops = (median: number, low: number): Verdict[] =>
    verdicts(results({ loops: group("lower", [low, 1.4], median) }));
  expect([loops(1.08, 1), loops(1.09, 1.08), loops(1.3, 1.09)]).toEqual([["reached"], ["within noise"], ["missed"]]);
  const payload = (median: number, high: number): Verdict[] =>
    verdicts(results({ payload: group("higher", [0.5, high], median) }));
  expect([payload(0.85, 0.9), payload(0.84, 0.85), payload(0.5, 0.84)]).toEqual([
    ["reached"],
    ["within noise"],
    ["missed"],
  ]);
  expect(verdicts(results({}))).toEqual([]);
});

test("every figure in the pages is that of a results file", async () => {
  const files = (await readdir(resultsFolder)).filter((name) => name.endsWith(".json"));
  const known = await Promise.all(
    files.map((name) => readResults(fileURLToPath(new URL(name, `file://${resultsFolder}`)))),
  );
  for (const page of pages) {
    const text = await readFile(new URL(page, root), "utf8");
    expect(text).toMatch(/<!-- bench: \w+ -->/);
    expect(known.some((one) => one !== undefined && fill(text, one) === text)).toBe(true);
  }
});

test("the recording of a run that is killed is of the example as it is, and ends as the run that was left alone", async () => {
  const [, hash, screen] = /<!-- recording of examples\/resume\.ts, (\w+) -->([^]*?)<!-- end of recording -->/.exec(
    await readFile(new URL("README.md", root), "utf8"),
  )!;
  const example = await readFile(new URL("examples/resume.ts", root), "utf8");
  // `npx tsx bench/recording-resume.ts` records it anew.
  expect(hash).toBe(createHash("sha256").update(example).digest("hex").slice(0, 16));
  expect(screen).toMatch(/kill -9 \d+/);
  const [killed, alone, ...more] = screen!.match(/^weights [0-9a-f]{64}$/gm)!;
  expect([alone, more]).toEqual([killed, []]);
});
