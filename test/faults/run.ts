/**
 * `npm run faults -- [WORD…]`: a program, its worker, their link or their disk is disturbed at each place of a training
 * that lives in a folder. It is started again until it ends. It must end with the bits and the logs of one that was
 * left alone. Words choose: `npm run faults -- "kill both" rich`.
 */
import { ensurePython } from "torchwire";
import { allFaults, nameOf } from "./faults.ts";
import { Stage } from "./stage.ts";
import { table, type Result } from "./table.ts";

const words = process.argv.slice(2).map((word) => word.toLowerCase());
const faults = allFaults().filter((fault) => words.every((word) => nameOf(fault).toLowerCase().includes(word)));
if (faults.length === 0) {
  console.error(
    `npm run faults: no fault has ${words.join(" and ")} in its name, such as:\n${nameOf(allFaults()[0]!)}`,
  );
  process.exit(2);
}

process.env["TORCHWIRE_PYTHON"] = (await ensurePython()).executable;
using stage = new Stage();
const begun = performance.now();
const results: Result[] = [];
let over = 0;

const running = faults.map(async (fault, i) => {
  const skipped = stage.skipped(fault);
  const wrong = skipped === undefined ? await stage.wrong(fault).catch((error: unknown) => [String(error)]) : [];
  results[i] = { fault, skipped, wrong };
  over++;
  if (skipped !== undefined) return;
  const seconds = (performance.now() - begun) / 1000;
  const left = Math.round((seconds / over) * (faults.length - over));
  console.log(`${over}/${faults.length}, ${left} s left: ${nameOf(fault)}: ${wrong.length === 0 ? "ok" : "WRONG"}`);
  for (const what of wrong) console.log(`    ${what.trim().replaceAll("\n", "\n    ")}`);
});
await Promise.all(running);
const { resumes, updates } = stage.compared;
console.log(`\n${table(results)}`);
console.log(
  `${resumes} programs went on from a checkpoint; their ${updates} updates equal the undisturbed ones, and the first two of each differ from a cold start's, where all is ok`,
);
process.exitCode = results.every(({ wrong }) => wrong.length === 0) ? 0 : 1;
