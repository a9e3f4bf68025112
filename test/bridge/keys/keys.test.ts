/** Keys: the profile, keygen, and the server's half of it. */
import { execa } from "execa";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { curveKeyPair } from "zeromq";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { packageRoot } from "../../../bridge/environment/package.ts";
import { configDirectory } from "../../../bridge/environment/places.ts";
import { EnvironmentError, TorchwireError } from "../../../bridge/errors/errors.ts";
import { bytesOfKey, fingerprint } from "../../../bridge/keys/key.ts";
import { keygen } from "../../../bridge/keys/keygen.ts";
import { hasProfile, profilePath, readProfile, writeProfile } from "../../../bridge/keys/profile.ts";
import { built } from "../../built.ts";
import { describeOnLinux, where } from "../../only.ts";

const describeWithModes = where(process.platform !== "win32", "Windows has no file modes");
const describeAsRoot = where(process.getuid?.() === 0, "it needs root, to give a file away");

let folder: string;
let env: NodeJS.ProcessEnv;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "torchwire-keys-"));
  env = { ...process.env, TORCHWIRE_CONFIG: join(folder, "config") };
});
afterEach(() => rmSync(folder, { recursive: true }));

const torchwire = async (...args: string[]): Promise<{ exitCode?: number; stdout: string; stderr: string }> =>
  execa(process.execPath, [built("bridge/cli.ts"), ...args], {
    cwd: packageRoot(),
    env,
    reject: false,
  });

function failure(act: () => unknown): TorchwireError & { command?: string | undefined } {
  try {
    act();
  } catch (error) {
    if (error instanceof TorchwireError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

const mode = (path: string): number => statSync(path).mode & 0o777;

describe("a key", () => {
  test("is 40 characters of Z85, and has the fingerprint that the server's side shows", () => {
    // As python/tests/test_keys.py has it.
    const key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
    expect(fingerprint(key)).toBe("SHA256:67OvTdmc7/Nun5C12z5FDkr9NWhEMfqfDsnuWvXD6MM");
    expect(bytesOfKey(key)?.toString("hex")).toBe("bb88471d65e2659b30c55a5321cebb5aab2b70a398645c26dca2b2fcb43fc518");
  });

  test.for(["", "x", "x".repeat(41), `${"x".repeat(39)}~`, `${"x".repeat(39)}"`, "#".repeat(40), 5, undefined])(
    "%j is none",
    (key) => {
      expect(bytesOfKey(key)).toBeUndefined();
    },
  );
});

describeOnLinux("the folder of profiles", () => {
  test("is where the user's settings are", () => {
    const of = (set: NodeJS.ProcessEnv): string => configDirectory({ HOME: "/home/me", ...set });
    expect(of({})).toBe("/home/me/.config/torchwire");
    expect(of({ XDG_CONFIG_HOME: "/etc/mine" })).toBe("/etc/mine/torchwire");
    expect(of({ XDG_CONFIG_HOME: "relative" })).toBe("/home/me/.config/torchwire");
    expect(of({ XDG_CONFIG_HOME: "/etc/mine", TORCHWIRE_CONFIG: "/there" })).toBe("/there");
  });
});

describe("keygen", () => {
  test("writes a profile that reads back, and gives the half that a server needs", () => {
    const { path, address, client, fingerprints, half } = keygen({ name: "gpu-box", env });
    const profile = readProfile("gpu-box", env);
    expect(profile).toMatchObject({ name: "gpu-box", path, address: "tcp://gpu-box:5555" });
    expect(address).toBe(profile.address);
    expect(fingerprints).toEqual({
      server: fingerprint(profile.server.public),
      client: fingerprint(profile.client.public),
    });
    expect(JSON.parse(half)).toEqual({
      torchwire: "authorize",
      client: { name: client, public: profile.client.public },
      server: { public: profile.server.public, secret: expect.stringMatching(/^\S{40}$/) },
    });
    expect(client).toMatch(/^[\w.-]+@[\w.-]+$/);
    // Each side's secret is on that side alone.
    expect(half).not.toContain(profile.client.secret);
    expect(readFileSync(path, "utf8")).not.toContain((JSON.parse(half) as { server: CurveSecret }).server.secret);
  });

  test("for a server that has keys makes the client's alone", () => {
    const { publicKey } = curveKeyPair();
    const { half } = keygen({ name: "again", serverKey: publicKey, address: "tcp://[::1]:7000", as: "me@desk", env });
    expect(JSON.parse(half)).toMatchObject({ client: { name: "me@desk" }, server: { public: publicKey } });
    expect(half).not.toContain("secret");
    expect(readProfile("again", env)).toMatchObject({ address: "tcp://[::1]:7000", server: { public: publicKey } });
  });

  test("writes the address of a second port that is not the next one", () => {
    const [address, control] = ["tcp://node-7:30555", "tcp://node-7:30556"];
    const { path } = keygen({ name: "mapped", address, control, env });
    expect(readProfile("mapped", env)).toMatchObject({ address, control });
    keygen({ name: "mapped", address, force: true, env });
    expect(readProfile("mapped", env).control).toBeUndefined();
    expect(JSON.parse(readFileSync(path, "utf8"))).not.toHaveProperty("control");
  });

  test("never replaces a profile without being forced to", () => {
    const { path, fingerprints } = keygen({ name: "gpu-box", env });
    const before = readFileSync(path, "utf8");
    const error = failure(() => keygen({ name: "gpu-box", env }));
    expect(error).toBeInstanceOf(EnvironmentError);
    expect(error.message).toContain(fingerprints.server);
    expect(error.command).toBe("npx torchwire keygen gpu-box --force");
    expect(readFileSync(path, "utf8")).toBe(before);
    const { fingerprints: now } = keygen({ name: "gpu-box", force: true, env });
    expect(now.server).not.toBe(fingerprints.server);
    expect(fingerprint(readProfile("gpu-box", env).client.public)).toBe(now.client);
    // Nor leaves anything beside it.
    expect(readdirSync(join(path, ".."))).toEqual(["gpu-box.json"]);
  });

  test.for([
    [{ name: "../gpu" }, "cannot be named"],
    [{ name: ".hidden" }, "cannot be named"],
    [{ name: "" }, "cannot be named"],
    [{ name: "a", address: "gpu-box:5555" }, "tcp://host:port"],
    [{ name: "a", address: "tcp://gpu-box" }, "tcp://host:port"],
    [{ name: "a", control: "gpu-box:5556" }, "--control is"],
    [{ name: "a", control: "tcp://a:5555" }, "a port of its own"],
    [{ name: "a", as: "../x" }, "--as"],
    [{ name: "a", serverKey: "hunter2" }, "not a public key of 40 characters"],
  ] as const)("refuses %j, and shows no key", ([options, why]) => {
    const error = failure(() => keygen({ ...options, env }));
    expect(error.code).toBe("MISUSE");
    expect(error.message).toContain(why);
    expect(error.message).not.toContain("hunter2");
    expect(() => statSync(env.TORCHWIRE_CONFIG!)).toThrow("ENOENT");
  });

  test("as a command prints the server's half, and that alone, on standard output", async () => {
    const { exitCode, stdout, stderr } = await torchwire("keygen", "gpu-box", "--address", "tcp://10.0.0.5:6000");
    expect(exitCode).toBe(0);
    const { server, client } = JSON.parse(stdout) as { server: CurveSecret; client: { name: string; public: string } };
    expect(stdout.split("\n")).toHaveLength(1);
    expect(stderr).toContain(profilePath("gpu-box", env));
    expect(stderr).toContain(fingerprint(server.public));
    expect(stderr).toContain(`${fingerprint(client.public)} (${client.name})`);
    expect(stderr).toContain('connectWorker("tcp://10.0.0.5:6000", { profile: "gpu-box" })');
    const profile = readProfile("gpu-box", env);
    for (const secret of [server.secret, profile.client.secret]) expect(stderr).not.toContain(secret);
  });

  test("as a command says what is wrong with its arguments", async () => {
    for (const args of [["keygen"], ["keygen", "a", "b"], ["keygen", "a", "--colour"]]) {
      const { exitCode, stdout, stderr } = await torchwire(...args);
      expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
      expect(stderr).toContain("Usage: torchwire keygen NAME");
    }
  });
});

interface CurveSecret {
  public: string;
  secret: string;
}

describe("a profile", () => {
  test("that is not there names the command that makes it", () => {
    expect(failure(() => readProfile("gpu-box", env)).command).toBe("npx torchwire keygen gpu-box");
    expect(hasProfile("gpu-box", env)).toBe(false);
    keygen({ name: "gpu-box", env });
    expect(hasProfile("gpu-box", env)).toBe(true);
    expect(hasProfile("[::1]", env)).toBe(false);
  });

  test("that is broken is an error that says where, and never what is in it", () => {
    const { path } = keygen({ name: "p", env });
    const { server, client } = readProfile("p", env);
    const broken: [unknown, string][] = [
      ["{", "not a JSON object"],
      [[], "server.public is not a key"],
      [{ client }, "server.public is not a key"],
      [{ server: {}, client }, "server.public is not a key"],
      [{ server, client: { public: client.public } }, "client.secret is not a key"],
      [{ server, client: { ...client, secret: `${client.secret}x` } }, "client.secret is not a key"],
      [{ server, client: { ...client, public: server.public } }, "client.public and client.secret are no pair"],
      [{ server, client, address: "http://gpu-box" }, "address is not of the form"],
      [{ server, client, address: 5 }, "address is not of the form"],
      [{ server, client, address: "tcp://gpu-box:5555", control: "gpu-box:5556" }, "control is not of the form"],
      [{ server, client, control: "tcp://gpu-box:5556" }, "control is there, and address is not"],
    ];
    for (const [content, why] of broken) {
      writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
      const error = failure(() => readProfile("p", env));
      expect(error.message).toContain(why);
      expect(error.message).toContain(path);
      expect(error.message).not.toContain(client.secret);
    }
  });

  test("without an address is one", () => {
    const { publicKey, secretKey } = curveKeyPair();
    const keys = { server: { public: publicKey }, client: { public: publicKey, secret: secretKey } };
    writeProfile({ name: "bare", address: undefined, ...keys }, { env });
    expect(readProfile("bare", env)).toEqual({
      name: "bare",
      path: profilePath("bare", env),
      address: undefined,
      ...keys,
    });
  });
});

describeWithModes("a profile's file", () => {
  test("is this user's alone, whatever the umask", () => {
    const umask = process.umask(0);
    let path;
    try {
      ({ path } = keygen({ name: "p", env }));
    } finally {
      process.umask(umask);
    }
    expect(mode(path).toString(8)).toBe("600");
    expect(mode(join(path, "..")).toString(8)).toBe("700");
    expect(mode(env.TORCHWIRE_CONFIG!).toString(8)).toBe("700");
  });

  test.for(["640", "604", "660", "620"])("of mode %s is not read, and the error says the chmod", (open) => {
    const { path } = keygen({ name: "p", env });
    chmodSync(path, Number.parseInt(open, 8));
    const error = failure(() => readProfile("p", env));
    expect(error.command).toBe(`chmod 600 ${path}`);
    expect(error.message).toContain(`mode 0${open}`);
    chmodSync(path, 0o400);
    expect(readProfile("p", env).path).toBe(path);
  });
});

describeWithModes("a profile counts only where nobody else can write what leads to it", () => {
  test.for([
    ["config", 0o777, "go-w"],
    ["config", 0o775, "go-w"],
    ["config/profiles", 0o777, "go-w"],
  ] as const)("%s of mode %o", ([name, open, mends]) => {
    const { path } = keygen({ name: "p", env });
    const opened = join(folder, name);
    chmodSync(opened, open);
    for (const act of [() => readProfile("p", env), () => keygen({ name: "other", env })]) {
      const error = failure(act);
      expect(error).toBeInstanceOf(EnvironmentError);
      expect(error.message).toContain(`others can write into ${opened} (uid ${process.getuid?.()}, mode 0`);
      expect(error.command).toMatch(new RegExp(`^chmod (${mends}|700) ${opened}$`));
    }
    chmodSync(opened, 0o755);
    expect(readProfile("p", env).path).toBe(path);
  });

  test("nor does the sticky bit, as of /tmp, above it do any harm", () => {
    const { path } = keygen({ name: "p", env });
    for (const each of [folder, join(path, "..")]) chmodSync(each, 0o1777);
    expect(readProfile("p", env).path).toBe(path);
  });

  test("also not where a link leads through a folder that others can write into", () => {
    const { path } = keygen({ name: "p", env });
    const elsewhere = join(folder, "elsewhere");
    mkdirSync(elsewhere);
    renameSync(path, join(elsewhere, "p.json"));
    symlinkSync("../../elsewhere/p.json", path);
    expect(readProfile("p", env).path).toBe(path);
    chmodSync(elsewhere, 0o777);
    expect(failure(() => readProfile("p", env)).command).toBe(`chmod go-w ${elsewhere}`);
  });

  test("and a named pipe in its place is not waited for", async () => {
    const { path } = keygen({ name: "p", env });
    rmSync(path);
    await execa("mkfifo", ["-m", "600", path]);
    expect(failure(() => readProfile("p", env)).message).toContain("is no file");
  });
});

describeAsRoot("a profile that a second user could put in the place of this one", () => {
  test("is not read", () => {
    const { path } = keygen({ name: "p", env });
    chmodSync(folder, 0o755);
    const parent = join(path, "..");
    for (const each of [env.TORCHWIRE_CONFIG!, parent]) chmodSync(each, 0o755);
    chownSync(parent, 65534, -1);
    const error = failure(() => readProfile("p", env));
    expect(error.message).toContain(`${parent} belongs to another user (uid 65534, mode 0755)`);
    // Nobody may take a folder from its owner.
    expect(error.command).toBeUndefined();
  });
});

describeAsRoot("a profile of another user's", () => {
  test("is not read", () => {
    const { path } = keygen({ name: "p", env });
    chownSync(path, 65534, -1);
    expect(failure(() => readProfile("p", env)).message).toContain("belongs to another user");
  });
});
