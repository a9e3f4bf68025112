/** The set-up on another machine, over a real sshd: offline, of one small wheel instead of PyTorch. */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { afterEach, beforeEach, expect, onTestFinished, test } from "vitest";
import { findPython } from "../../bridge/environment/find.ts";
import { findManaged, site } from "../../bridge/environment/managed.ts";
import { setup } from "../../bridge/environment/setup.ts";
import { setupOverSsh } from "../../bridge/ssh/setup.ts";
import { built } from "../built.ts";
import { World } from "../fixtures/environment/world.ts";
import { isRunning, poll } from "../fixtures/life/world.ts";
import { farFolders, noSshd, SshHost } from "../fixtures/ssh/world.ts";
import { where } from "../only.ts";
import { testWorker } from "../worker.ts";

where(noSshd === undefined, noSshd ?? "")("a set-up over ssh", () => {
  let world: World;
  let host: SshHost;
  let requirements: string;

  beforeEach(async () => {
    world = new World();
    requirements = world.wheel("tiny", "answer = 42");
    // (It is one machine: /bin has sh, and a python3 to start with.)
    const env = {
      ...world.env,
      PATH: `${world.bin}:${join(process.execPath, "..")}:/usr/bin:/bin`,
      TORCHWIRE_PYTHON: "",
    };
    host = await SshHost.start({ env });
  });
  afterEach(() => {
    host[Symbol.dispose]();
    world[Symbol.dispose]();
  });

  const environments = (): string[] =>
    existsSync(join(world.cache, "environments")) ? readdirSync(join(world.cache, "environments")) : [];
  const folders = (): string[] => farFolders().filter((name) => existsSync(join("/tmp", name, "requirements.txt")));
  const failure = (python: string): Promise<string> =>
    setupOverSsh(host.target(), { requirements, python }).then(
      () => "it succeeded",
      (error: unknown) => String(error),
    );

  test("run twice at once makes one environment, which that machine's own set-up finds too", async () => {
    world.python("bin/python3");
    const both = await Promise.all([1, 2].map(() => setupOverSsh(host.target(), { requirements })));
    expect(both.filter(({ created }) => created)).toHaveLength(1);
    const { executable } = both[0]!;
    expect(both[1]!.executable).toBe(executable);
    const { stdout } = await execa(executable, ["-c", "import tiny; print(tiny.answer)"]);
    expect(stdout).toBe("42");
    expect(environments()).toHaveLength(1);
    expect(findManaged(site({ requirements, cache: world.cache }))).toMatchObject({
      executable,
      marker: { installer: "pip" },
    });
    expect(await setup({ requirements, env: world.env })).toEqual({ executable, created: false });
  });

  test("finds what that machine's own set-up has made, and removes what a killed one has left", async () => {
    world.seededPython("bin/python3");
    const { executable } = await setup({ requirements, env: world.env, onProgress: () => undefined });
    const left = join(world.cache, "environments", "0123456789ab-3.11.0-linux-x86_64-abcdef");
    mkdirSync(left);
    expect(await setupOverSsh(host.target(), { requirements })).toEqual({ executable, created: false });
    const other = world.wheel("other", "answer = 43");
    expect(await setupOverSsh(host.target(), { requirements: other })).toMatchObject({ created: true });
    expect(existsSync(left)).toBe(false);
  });

  test("uses the uv there, with the system's certificates where its own do not do", async () => {
    world.uv();
    world.python("bin/python3");
    const { executable } = await setupOverSsh(host.target(), { requirements });
    expect(JSON.parse(readFileSync(join(executable, "..", "..", "torchwire.json"), "utf8"))).toMatchObject({
      installer: "uv",
    });
  });

  test("that fails says what was said there, and leaves nothing", async () => {
    expect(await failure(world.failingPython())).toMatch(
      /making the environment failed there \(exit code 7\)[^]*made of cheese[^]*Run: npx torchwire setup --ssh="-F /,
    );
    expect(await failure("/nowhere/python3")).toMatch(
      /^EnvironmentError: \/nowhere\/python3 does not serve: torchwire needs Python 3\.10 to 3\.13 on that machine\. There is none/,
    );
    expect(await failure(world.oddPython("old/python3", { says: "s#3.[0-9]*[.][0-9]*#3.9.2#" }))).toContain(
      "it is Python 3.9.2",
    );
    expect(environments()).toEqual([]);
    expect(folders()).toEqual([]);
  });

  test("that is interrupted here removes what it has made there", async () => {
    const python = world.endlessPython();
    const command = [built("bridge/cli.ts"), "setup", `--ssh=${host.target().join(" ")}`, "--python", python];
    const run = execa("node", command, { reject: false });
    const building = await poll(20_000, environments, (found) => found.some((name) => name !== ".lock"));
    expect(building.length).toBeGreaterThan(0);
    await poll(
      5000,
      () => existsSync(world.path("endless.pid")),
      (found) => found,
    );
    const pid = Number(readFileSync(world.path("endless.pid"), "utf8"));
    run.kill("SIGINT");
    await run;
    // When it says so, it is so.
    expect(folders()).toEqual([]);
    expect(environments()).toEqual([]);
    expect(isRunning(pid)).toBe(false);
  });

  test("adds packages there, and records them for the project here, so that its own set-up there finds them", async () => {
    world.seededPython("bin/python3");
    world.file("app/package.json", "{}");
    const project = world.path("app");
    const asked = readFileSync(world.wheel("more", "answer = 43"), "utf8").trim();
    const { executable, created } = await setupOverSsh(host.target(), { requirements, project, add: [asked] });
    expect(created).toBe(true);
    const { stdout } = await execa(executable, ["-I", "-c", "import tiny, more; print(tiny.answer, more.answer)"]);
    expect(stdout).toBe("42 43");
    expect(JSON.parse(readFileSync(join(project, "torchwire.packages.json"), "utf8"))).toEqual({
      packages: [asked],
      versions: { more: "1.0" },
    });
    expect(await setupOverSsh(host.target(), { requirements, project })).toEqual({ executable, created: false });
    const failing = setupOverSsh(host.target(), { requirements, project, add: ["absent"] });
    await expect(failing).rejects.toThrow(/not all packages can be had there: the package index has no absent/);
  });

  test.for([undefined, { packages: ["timm"], versions: { timm: "1.0" } }])(
    "is what a worker there runs in: %o",
    async (packages) => {
      const { key } = site();
      const program = world.path("app");
      mkdirSync(program);
      for (const mark of ["plain", "packages"]) {
        const folder = join(
          world.cache,
          "environments",
          `${key}-3.11.7-linux-x86_64-${mark === "plain" ? "abcdef" : "abcde0"}`,
        );
        mkdirSync(join(folder, "bin"), { recursive: true });
        const python = join(folder, "bin", "python");
        writeFileSync(python, `#!/bin/sh\nMARK=${mark} exec ${(await findPython()).executable} "$@"\n`);
        chmodSync(python, 0o755);
        const beside = mark === "plain" ? {} : { packages: { packages: ["timm"], versions: { timm: "1.0" } } };
        const marker = { base: python, version: "3.11.7", installer: "uv", ...beside };
        writeFileSync(join(folder, "torchwire.json"), JSON.stringify(marker));
      }
      if (packages !== undefined) world.file("app/torchwire.packages.json", JSON.stringify(packages));
      const before = process.cwd();
      process.chdir(program);
      onTestFinished(() => process.chdir(before));
      await using worker = await testWorker({ ssh: host.target() });
      expect(await worker.import("os").environ.get("MARK")).toBe(packages === undefined ? "plain" : "packages");
    },
  );
});
