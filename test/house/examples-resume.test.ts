/** Both sides of examples/resume.ts are killed for real, and it ends with the weights of a run that was left alone. */
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

test("resume: its program killed, and then its worker, it has the weights of a run that was left alone", async () => {
  const alone = start("alone");
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

  const again = start("disturbed");
  again.stdout.once("data", (text: Buffer) =>
    process.kill(Number(/worker (\d+)/.exec(text.toString())![1]), "SIGKILL"),
  );
  const { stdout, stderr } = await again;
  expect(stderr).toContain("Restart 1 of 3");
  const lines = String(stdout).split("\n");
  expect(lines.at(-2)).toMatch(/^resume 1, after step \d+$/);
  expect(lines.at(-1)).toMatch(/^weights [0-9a-f]{64}$/);
  expect(lines.at(-1)).toBe(
    String((await alone).stdout)
      .split("\n")
      .at(-1),
  );
});
