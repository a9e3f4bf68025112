/**
 * `npm run fuzz -- [--count N] [--seed N] [--target spawned|served|keys]`: hostile messages, a million of them for each
 * target unless told otherwise.
 */
import { parseArgs } from "node:util";
import { fuzz, MOST_GROWTH, type Report } from "./fuzz.ts";
import { open, targets, type Target } from "./targets.ts";

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "1000000" },
    seed: { type: "string", default: "1" },
    target: { type: "string", multiple: true, default: [...targets] },
  },
});
const [count, seed] = [Number(values.count), Number(values.seed)];
const wrong = values.target.filter((name) => !(targets as readonly string[]).includes(name));
if (!Number.isSafeInteger(count) || count < 1 || !Number.isSafeInteger(seed) || wrong.length > 0) {
  console.error(`npm run fuzz -- --count N --seed N --target ${targets.join("|")}`);
  process.exit(2);
}

const milliseconds = (n: number): string => `${n.toFixed(2)} ms`;

function show(name: string, report: Report): boolean {
  const { sent, refusals, leaks, lives, resident, alone, attacked, seconds } = report;
  const growth = resident.most - resident.before;
  console.log(`\n${name}: ${Math.round(seconds)} s, seed ${seed}`);
  for (const [kind, n] of Object.entries(sent)) console.log(`    ${n.toLocaleString("en-US").padStart(10)}  ${kind}`);
  console.log(`    refusals told: ${refusals.toLocaleString("en-US")}`);
  console.log(
    `    the worker: ${lives ? "lives" : "DEAD"}; resident ${resident.before} MiB before, ${resident.most} at most: +${growth}, the bound is ${MOST_GROWTH}`,
  );
  for (const [when, { count, p50, p99, most }] of Object.entries({ alone, attacked }))
    console.log(
      `    honest round trips, ${when}: ${count}, p50 ${milliseconds(p50)}, p99 ${milliseconds(p99)}, at most ${milliseconds(most)}`,
    );
  for (const leak of leaks) console.log(`    TOLD A STRANGER: ${JSON.stringify(leak)}`);
  return lives && growth <= MOST_GROWTH && leaks.length === 0;
}

let well = true;
for (const name of values.target as Target[]) {
  await using target = await open(name);
  const say = (what: string): void => void process.stderr.write(`${name}: ${what}\n`);
  well = show(name, await fuzz({ seed, count, tinyFrames: 1_000_000, say, ...target.fuzzed })) && well;
}
process.exitCode = well ? 0 : 1;
