/** Python packages for the tests alone. The environment that torchwire makes stays as its users have it. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { ensurePython } from "torchwire";

const root = fileURLToPath(new URL("..", import.meta.url));

/**
 * The folder, for PYTHONPATH, with the packages that python/requirements-test.txt and requirements-examples.txt pin.
 * The first call fills it (150 MB of downloads); later calls need no network.
 */
export async function testPackages(): Promise<string> {
  const requirements = ["test", "examples"].map((name) => join(root, "python", `requirements-${name}.txt`));
  const hash = createHash("sha256");
  for (const file of requirements) hash.update(await readFile(file));
  const cache = join(root, "node_modules", ".cache", "torchwire");
  const folder = join(cache, `python-${hash.digest("hex").slice(0, 12)}`);
  if (existsSync(folder)) return folder;

  await mkdir(cache, { recursive: true });
  const { executable } = await ensurePython();
  const options = ["--no-deps", "--require-hashes", ...requirements.flatMap((file) => ["-r", file])];
  // An environment made by uv has no pip, and one made by pip has no uv.
  const installers = [
    ["uv", "pip", "install", "--python", executable],
    [executable, "-m", "uv", "pip", "install", "--python", executable],
    [executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"],
  ] as const;
  const failures: string[] = [];
  for (const [file, ...args] of installers) {
    // Fill a draft beside its place and then move it there, so that the folder is always whole.
    const draft = await mkdtemp(join(cache, "draft-"));
    const { failed, all } = await execa(file, [...args, ...options, "--target", draft], { all: true, reject: false });
    if (!failed) {
      await rename(draft, folder);
      return folder;
    }
    failures.push(`${file}: ${all || "not found"}`);
    await rm(draft, { recursive: true });
  }
  throw new Error(`the packages of ${requirements.join(" and ")} could not be installed:\n${failures.join("\n")}`);
}
