/** `npm run bench`: sets up Python where needed, measures, prints a table, and writes the figures to bench/results. */
import { writeFile } from "node:fs/promises";
import { loadavg } from "node:os";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { ensurePython } from "torchwire";
import { measureKept } from "./kept.ts";
import { measureGpu } from "./gpu.ts";
import { measureLearner } from "./learner.ts";
import { measureLoading } from "./loading.ts";
import { measureLoops } from "./loops.ts";
import { commitOf, describeMachine, gpuOf } from "./machine.ts";
import { measureOps } from "./ops.ts";
import { measurePayload } from "./payload.ts";
import { measurePeers } from "./peers.ts";
import { measureGrowth } from "./growth.ts";
import { judge } from "./bars.ts";
import { pages, writePages } from "./pages.ts";
import { reportAll, reportMachine, reportSection } from "./report.ts";
import { toGroup, writeResults, type Section } from "./results.ts";
import { measureResume } from "./resume.ts";
import { measureRoundTrips } from "./roundtrip.ts";
import { measureServing } from "./serving.ts";
import { measureStartUp } from "./startup.ts";
import type { Measured } from "./rounds.ts";
import { measureTransports } from "./transports.ts";
import type { Surroundings } from "./section.ts";
import { FEWEST_ROUNDS, help, readSettings, sectionNames, type SectionName, type Settings } from "./settings.ts";

const sections: Readonly<
  Record<SectionName, { title: string; measure: (surroundings: Surroundings) => Promise<Measured[]> }>
> = {
  loops: { title: "Training loops", measure: measureLoops },
  learner: { title: "Learner", measure: measureLearner },
  resume: { title: "Resume", measure: measureResume },
  startup: { title: "Start-up and memory", measure: measureStartUp },
  roundtrip: { title: "Round trips", measure: measureRoundTrips },
  ops: { title: "Operations a second", measure: measureOps },
  payload: { title: "Payload", measure: measurePayload },
  transports: { title: "Transports", measure: measureTransports },
  kept: { title: "Data that stays", measure: measureKept },
  loading: { title: "Images from files", measure: measureLoading },
  peers: { title: "Other ways to train from JavaScript", measure: measurePeers },
  serving: { title: "Requests", measure: measureServing },
  gpu: { title: "On a GPU", measure: measureGpu },
  growth: { title: "How the cost grows", measure: measureGrowth },
};

const settings = settingsOrStop();
if (settings === undefined) process.stdout.write(help);
else
  try {
    process.exitCode = await main(settings);
  } catch (error) {
    console.error(error);
    // All other processes end with this one.
    process.exit(1);
  }

async function main(settings: Settings): Promise<number> {
  keepCompiledPython();
  const python = (await ensurePython()).executable;
  const gpu = gpuOf(python);
  const machine = describeMachine(gpu);
  const commit = commitOf() ?? null;
  const measured: Partial<Record<SectionName, Section>> = {};
  console.log(reportMachine(machine));
  if (settings.quick) console.log("QUICK: a trial, whose figures mean nothing\n");

  for (const name of settings.sections) {
    const date = new Date();
    const load = loadavg();
    let versions: Readonly<Record<string, string>> = {};
    const all = await sections[name].measure({
      ...settings,
      python,
      glibc: machine.glibc !== null,
      gpu,
      progress,
      sawVersions: (seen) => {
        versions = { node: process.versions.node, ...seen };
      },
    });
    // (The section has said why.)
    if (all.length === 0) continue;
    const section: Section = {
      date: `${date.toISOString().slice(0, 19)}Z`,
      seconds: Math.round((Date.now() - date.getTime()) / 1000),
      commit,
      versions,
      load,
      groups: all.map(toGroup),
    };
    measured[name] = section;
    progress("");
    console.log(reportSection(sections[name].title, section));
  }

  if (settings.quick || Object.keys(measured).length === 0) return 0;
  const poor = Object.values(measured).flatMap(({ groups }) =>
    groups.filter(({ rounds }) => rounds.kept < Math.min(FEWEST_ROUNDS, rounds.enough ?? FEWEST_ROUNDS)),
  );
  if (poor.length > 0) {
    console.error(
      `Nothing is written: others used the CPUs too much. Of ${poor.map(({ name, rounds }) => `"${name}" ${rounds.kept}`).join(", ")} rounds were kept, and ${FEWEST_ROUNDS} are needed. Run it again when the machine is quiet: npm run bench`,
    );
    return 1;
  }
  const { file, results } = await writeResults(machine, measured);
  const titles = Object.fromEntries(sectionNames.map((name) => [name, sections[name].title]));
  await writeFile(file.replace(/json$/, "txt"), reportAll(results, titles as Record<SectionName, string>));
  await writePages(results);
  for (const { bar, median, interval, verdict } of judge({ sections: measured }))
    console.log(
      `${verdict.padEnd(12)}  ${bar.section}: ${bar.group}, ${bar.variant}: ${median} [${interval.join(", ")}], aim ${bar.ratio}`,
    );
  console.log(
    `Written to ${relative(process.cwd(), file)}, the .txt beside it, and the marked places of ${pages.join(" and ")}`,
  );
  return 0;
}

/**
 * Dozens of fresh processes import torch. If Python may not keep its compiled files, each import takes twice as long.
 */
function keepCompiledPython(): void {
  if (!process.env["PYTHONDONTWRITEBYTECODE"]) return;
  delete process.env["PYTHONDONTWRITEBYTECODE"];
  process.env["PYTHONPYCACHEPREFIX"] ??= fileURLToPath(
    new URL("../node_modules/.cache/torchwire-bench", import.meta.url),
  );
}

/** Draws one line again and again on a terminal; elsewhere it prints a line for each start. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
  else if (text !== "" && !text.includes(": round ")) process.stderr.write(`${text}\n`);
}

function settingsOrStop(): Settings | undefined {
  try {
    return readSettings(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${help}`);
    return process.exit(2);
  }
}
