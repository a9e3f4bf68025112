/**
 * Records a run of examples/resume.ts that is killed and started again, and one that is left alone, and puts both into
 * README.md:
 *
 *     npx tsx bench/recording-resume.ts
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { putIntoReadme, root, screenOf } from "./terminal.ts";

/** Fewer than the example's own: 94 steps in each of five epochs. */
const IMAGES = 6000;
const KILLED_AFTER = 150;
const example = "examples/resume.ts";
const [killed, alone] = ["runs/killed", "runs/alone"];
const command = (folder: string): string =>
  `node --import tsx --conditions=torchwire-source ${example} ${folder} ${IMAGES}`;

for (const folder of [killed, alone])
  if (existsSync(join(root, folder))) throw new Error(`${folder} is there already: move it away first`);
try {
  let first!: Promise<string>;
  const begun = new Promise<number>((resolve) => {
    const whileOn = (received: string): void => {
      const [, pid] = /^process (\d+), /m.exec(received) ?? [];
      if (pid !== undefined) resolve(Number(pid));
    };
    first = screenOf(command(killed), { whileOn, mayFail: true });
  });
  const pid = await Promise.race([begun, first.then((screen) => Promise.reject(new Error(screen)))]);
  while ((await lastStep()) < KILLED_AFTER) await sleep(10);
  process.kill(pid, "SIGKILL");
  const last = `${command(alone)} 2>/dev/null | tail -n 1`;
  const screens = [
    [command(killed), `${await first}\n$ kill -9 ${pid}    # in another terminal`],
    [command(killed), await screenOf(command(killed))],
    [last, await screenOf(last)],
  ];
  const hash = createHash("sha256")
    .update(await readFile(join(root, example)))
    .digest("hex");
  const text = screens.map(([typed, screen]) => `$ ${typed}\n${screen}`).join("\n\n");
  await putIntoReadme(`recording of ${example}`, hash.slice(0, 16), `\`\`\`\n${text}\n\`\`\``);
} finally {
  for (const folder of [killed, alone]) await rm(join(root, folder), { recursive: true, force: true });
}

/** The steps of the newest checkpoint. */
async function lastStep(): Promise<number> {
  const names = await readdir(join(root, killed)).catch(() => []);
  return Math.max(0, ...names.map((name) => Number(/^step-(\d+)-/.exec(name)?.[1] ?? 0)));
}
