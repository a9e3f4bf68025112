/** examples/resume.ts is killed for real, and ends with the weights of a run that was left alone. */
import { access, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const example = join(root, "examples", "resume.ts");
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "examples-"));
});
afterAll(() => rm(folder, { recursive: true }));

const run = execa({ cwd: root, env: { OMP_NUM_THREADS: "1" }, reject: false });
/** The example in the folder of this name. */
const start = (name: string): ReturnType<typeof run> =>
  run(process.execPath, ["--import", "tsx", "--conditions=torchwire-source", example, join(folder, name), "2000"]);
const linesOf = async (name: string): Promise<string[]> => String((await start(name)).stdout).split("\n");

test("resume: killed and started again, it has the weights of a run that was left alone", async () => {
  const alone = linesOf("alone");
  const killed = start("disturbed");
  const pointer = join(folder, "disturbed", "latest.json");
  while (
    killed.exitCode === null &&
    !(await access(pointer).then(
      () => true,
      () => false,
    ))
  )
    await sleep(5);
  killed.kill("SIGKILL");
  expect((await killed).signal).toBe("SIGKILL");

  const lines = await linesOf("disturbed");
  expect(lines.at(-2)).toMatch(/^resume 1, after step \d+$/);
  expect(lines.at(-1)).toMatch(/^weights [0-9a-f]{64}$/);
  expect(lines.at(-1)).toBe((await alone).at(-1));
});
