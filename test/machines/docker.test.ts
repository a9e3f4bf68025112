/**
 * The container's files, as far as that needs no build: the Dockerfile, compose.yaml and kubernetes.yaml keep the
 * rules, and agree.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { ensurePython } from "torchwire";
import { beforeAll, describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { where } from "../only.ts";
import { testPackages } from "../python-packages.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), "utf8");

interface Instruction {
  readonly name: string;
  readonly text: string;
}

const instructions: Instruction[] = read("docker/Dockerfile")
  .replaceAll(/^\s*#.*\n/gm, "")
  .replaceAll(/\\\n\s*/g, "")
  .split("\n")
  .filter((line) => line !== "")
  .map((line) => ({ name: line.split(" ", 1)[0]!, text: line.slice(line.indexOf(" ") + 1) }));
const only = (name: string): string => {
  const found = instructions.filter((each) => each.name === name);
  expect(found).toHaveLength(1);
  return found[0]!.text;
};
const list = (name: string): string[] => JSON.parse(only(name)) as string[];
const argument = (name: string): string =>
  instructions.find((each) => each.name === "ARG" && each.text.startsWith(`${name}=`))!.text.split("=")[1]!;
/** The files that the Dockerfile copies from the package's folder. */
const copied = instructions.filter(({ name }) => name === "COPY").flatMap(({ text }) => text.split(" ").slice(0, -1));

const { version, files } = JSON.parse(read("package.json")) as { version: string; files: string[] };

describe("docker/Dockerfile", () => {
  const at = (what: RegExp): number => {
    const index = instructions.findIndex(({ name, text }) => what.test(`${name} ${text}`));
    if (index < 0) throw new Error(`the Dockerfile has no ${what}`);
    return index;
  };

  test("names no registry and takes its versions from outside", () => {
    expect(instructions.slice(0, 3).map(({ name, text }) => `${name} ${text}`)).toEqual([
      expect.stringMatching(/^ARG PYTHON_VERSION=3\.1[0-3]$/),
      // oxlint-disable-next-line no-template-curly-in-string
      "ARG BASE=python:${PYTHON_VERSION}-slim-bookworm",
      // oxlint-disable-next-line no-template-curly-in-string
      "FROM ${BASE}",
    ]);
    for (const name of ["UID", "UV_VERSION", "TORCH_BACKEND"]) expect(argument(name)).toBeDefined();
    for (const file of ["compose.yaml", "kubernetes.yaml"])
      for (const [, image] of read(`docker/${file}`).matchAll(/\bimage: (\S+)/g))
        expect(image).toMatch(/^torchwire-worker:\w+$/);
  });

  test("installs PyTorch before it copies the worker, by the lock", () => {
    const packages = at(/^RUN .*uv pip install .*-r \/opt\/requirements\.lock/);
    expect(at(/^COPY python\/requirements\.lock /)).toBeLessThan(packages);
    expect(copied.filter((path) => path !== "python/requirements.lock")).toEqual([
      "python/pyproject.toml",
      "python/torchwire_worker",
    ]);
    expect(at(/^COPY python\/(?!requirements\.lock)/)).toBeGreaterThan(packages);
  });

  test("ends as a user who is not root, with nothing done as that user", () => {
    expect(only("USER")).toBe("$UID:$UID");
    expect(Number(argument("UID"))).toBeGreaterThanOrEqual(1000);
    expect(at(/^USER/)).toBeGreaterThan(
      Math.max(
        at(/^WORKDIR/),
        instructions.findLastIndex(({ name }) => name === "RUN"),
      ),
    );
  });

  test("starts the worker under an init, bound openly and with keys", () => {
    expect(list("ENTRYPOINT")).toEqual(["tini", "--", "torchwire-worker"]);
    expect(list("CMD")).toEqual(["serve", "--bind", "tcp://0.0.0.0:5555", "--keys", "/keys"]);
    expect(only("HEALTHCHECK")).toMatch(/--start-period=\d+s .*CMD \["torchwire-worker", "healthcheck"\]$/);
    expect(only("STOPSIGNAL")).toBe("SIGTERM");
    expect(instructions.find(({ name }) => name === "RUN")!.text).toMatch(/ g\+\+ gcc libc6-dev tini /);
  });

  test("gets all that it copies, and no more", () => {
    const ignore = read("docker/Dockerfile.dockerignore")
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"));
    expect(ignore[0]).toBe("*");
    expect(ignore.filter((line) => line.startsWith("!")).map((line) => line.slice(1))).toEqual(copied.toSorted());
    for (const path of copied) expect(existsSync(join(root, path))).toBe(true);
  });

  test("can be built from what npm installs", () => {
    for (const path of ["docker", ...copied]) expect(files).toContain(path);
  });
});

where(process.platform !== "win32", "the package has no hadolint for Windows")("hadolint", () => {
  test("has nothing against the Dockerfile, and something against a bad one", async () => {
    const hadolint = join(await testPackages(), "bin", "hadolint");
    const lint = (input: string): Promise<{ stdout: string }> =>
      execa(hadolint, ["--no-color", "-"], { input, reject: false });
    expect((await lint(read("docker/Dockerfile"))).stdout).toBe("");
    expect((await lint(read("docker/Dockerfile").replace(/^# hadolint ignore.*\n/m, ""))).stdout).toContain("DL3008");
  });
});

interface Service {
  readonly [key: string]: unknown;
  readonly build: { context: string; dockerfile: string; args: Record<string, string> };
  readonly ports: readonly string[];
  readonly volumes: readonly (string | { source: string; target: string; read_only?: boolean })[];
}
interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: object;
  readonly networks: Readonly<Record<string, { driver_opts: Record<string, string> }>>;
}

describe("docker/compose.yaml", () => {
  const compose = parse(read("docker/compose.yaml"), { merge: true }) as Compose;
  const { gpu, cpu } = compose.services as { gpu: Service; cpu: Service };

  test.for(["gpu", "cpu"])("%s: may do no more than it needs", (name) => {
    const service = compose.services[name]!;
    expect(service).toMatchObject({
      read_only: true,
      cap_drop: ["ALL"],
      security_opt: ["no-new-privileges:true"],
      stop_grace_period: "60s",
      restart: "unless-stopped",
      networks: ["worker"],
    });
    expect(service["tmpfs"]).toEqual([expect.stringMatching(/^\/tmp:/)]);
    expect(service["shm_size"]).toMatch(/\d+gb\}$/);
    for (const key of [
      "privileged",
      "cap_add",
      "network_mode",
      "pid",
      "ipc",
      "user",
      "command",
      "entrypoint",
      "devices",
    ])
      expect(service).not.toHaveProperty(key);
    expect(JSON.stringify(service)).not.toContain("docker.sock");
    expect(service.volumes).toHaveLength(3);
    expect(service.volumes[0]).toMatchObject({ target: "/keys", read_only: true, bind: { create_host_path: false } });
    // oxlint-disable-next-line no-template-curly-in-string
    expect(service.volumes[0]).toHaveProperty("source", expect.stringMatching(/^\$\{TORCHWIRE_KEYS:\?/));
    expect(service.volumes.slice(1)).toEqual(list("VOLUME").map((path) => `${path.slice(1)}:${path}`));
    expect(existsSync(join(root, "docker", service.build.context, service.build.dockerfile))).toBe(true);
  });

  test("reaches nothing outside unless that is asked for", () => {
    expect(compose.networks["worker"]!.driver_opts).toEqual({
      // oxlint-disable-next-line no-template-curly-in-string
      "com.docker.network.bridge.enable_ip_masquerade": "${TORCHWIRE_EGRESS:-false}",
    });
  });

  test("publishes the ports that the image listens to", () => {
    const ports = only("EXPOSE").split(" ");
    for (const service of [gpu, cpu]) expect(service.ports.map((port) => port.split(":").at(-1))).toEqual(ports);
  });

  test("reserves a GPU for the one and gives the other PyTorch's CPU build", () => {
    expect(gpu["deploy"]).toEqual({
      resources: { reservations: { devices: [{ driver: "nvidia", count: 1, capabilities: ["gpu"] }] } },
    });
    expect(cpu).not.toHaveProperty("deploy");
    expect(cpu["profiles"]).toEqual(["cpu"]);
    expect(gpu).not.toHaveProperty("profiles");
    expect(cpu.build.args["TORCH_BACKEND"]).toBe("cpu");
  });

  test("has the Dockerfile's defaults where it names its arguments", () => {
    for (const service of [gpu, cpu])
      expect(service.build.args).toMatchObject({
        PYTHON_VERSION: expect.stringMatching(new RegExp(`:-${argument("PYTHON_VERSION").replace(".", "\\.")}\\}$`)),
        UID: expect.stringMatching(new RegExp(`:-${argument("UID")}\\}$`)),
      });
  });
});

interface Resource {
  readonly kind: string;
  readonly metadata: { name: string };
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly spec: any;
}

describe("docker/kubernetes.yaml", () => {
  // Kubernetes reads YAML 1.1, where 0440 is octal.
  const resources = parseAllDocuments(read("docker/kubernetes.yaml"), { version: "1.1" }).map(
    (document) => document.toJS() as Resource,
  );
  const one = (kind: string): Resource => {
    const found = resources.filter((each) => each.kind === kind);
    expect(found).toHaveLength(1);
    return found[0]!;
  };
  const { spec } = one("Deployment");
  const pod = spec.template.spec;
  const [container] = pod.containers;

  test("runs one worker, never two on one GPU, which may do no more than it needs", () => {
    expect(spec).toMatchObject({ replicas: 1, strategy: { type: "Recreate" } });
    const user = Number(argument("UID"));
    expect(pod).toMatchObject({
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 60,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: user,
        runAsGroup: user,
        fsGroup: user,
        seccompProfile: { type: "RuntimeDefault" },
      },
    });
    for (const key of ["hostNetwork", "hostPID", "hostIPC"]) expect(pod).not.toHaveProperty(key);
    expect(pod.containers).toHaveLength(1);
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    });
    expect(container.resources.limits).toHaveProperty(["nvidia.com/gpu"], 1);
    expect(container).not.toHaveProperty("command");
    expect(container).not.toHaveProperty("args");
    expect(container).not.toHaveProperty("env");
  });

  test("asks for its health as the image does, with time to start", () => {
    const command = JSON.parse(only("HEALTHCHECK").replace(/^.* CMD /, "")) as string[];
    for (const name of ["startupProbe", "readinessProbe", "livenessProbe"])
      expect(container[name].exec).toEqual({ command });
    const { periodSeconds, failureThreshold } = container.startupProbe;
    expect(periodSeconds * failureThreshold).toBeGreaterThanOrEqual(300);
    expect(container.livenessProbe.failureThreshold).toBeGreaterThanOrEqual(3);
  });

  test("mounts what the image needs: the keys to be read, the rest to be written", () => {
    const mounts: { name: string; mountPath: string; readOnly?: boolean }[] = container.volumeMounts;
    expect(mounts.map(({ mountPath }) => mountPath).toSorted()).toEqual(
      [...list("VOLUME"), "/dev/shm", "/keys", "/tmp"].toSorted(),
    );
    expect(mounts.filter(({ readOnly }) => readOnly).map(({ mountPath }) => mountPath)).toEqual(["/keys"]);
    const volumes = new Map<string, Record<string, unknown>>(
      pod.volumes.map(({ name, ...what }: { name: string }) => [name, what]),
    );
    expect([...volumes.keys()].toSorted()).toEqual(mounts.map(({ name }) => name).toSorted());
    expect(volumes.get("shm")).toMatchObject({ emptyDir: { medium: "Memory" } });
    expect(volumes.get("keys")).toMatchObject({
      secret: {
        defaultMode: 0o440,
        items: expect.arrayContaining([{ key: "server.key_secret", path: "server.key_secret" }]),
      },
    });
    for (const name of ["cache", "data"]) {
      const claim = `torchwire-${name}`;
      expect(volumes.get(name)).toEqual({ persistentVolumeClaim: { claimName: claim } });
      expect(resources.some(({ kind, metadata }) => kind === "PersistentVolumeClaim" && metadata.name === claim)).toBe(
        true,
      );
    }
  });

  test("is reached by the two ports, and reaches nothing", () => {
    const ports = only("EXPOSE").split(" ").map(Number);
    expect(container.ports.map(({ containerPort }: { containerPort: number }) => containerPort)).toEqual(ports);
    expect(one("Service").spec.ports.map(({ port }: { port: number }) => port)).toEqual(ports);
    const labels = spec.template.metadata.labels;
    expect(one("Service").spec.selector).toEqual(labels);
    const policy = one("NetworkPolicy").spec;
    expect(policy).toMatchObject({
      podSelector: { matchLabels: labels },
      policyTypes: ["Ingress", "Egress"],
      egress: [],
    });
    expect(policy.ingress[0].ports.map(({ port }: { port: string }) => port)).toEqual(["data", "control"]);
  });

  test("holds no secret", () => {
    expect(resources.map(({ kind }) => kind)).not.toContain("Secret");
  });
});

describe("python/pyproject.toml", () => {
  let entries: Readonly<Record<string, string>>;

  // The wheel that pip makes of it.
  beforeAll(async () => {
    const { executable } = await ensurePython();
    const env = { PYTHONPATH: await testPackages() };
    const folder = mkdtempSync(join(tmpdir(), "wheel-"));
    const code = `import json, os, sys, zipfile
from flit_core import buildapi
name = buildapi.build_wheel(sys.argv[1])
with zipfile.ZipFile(os.path.join(sys.argv[1], name)) as wheel:
    print(json.dumps({each: wheel.read(each).decode() for each in wheel.namelist()}))`;
    try {
      const wheel = execFileSync(executable, ["-c", code, folder], {
        cwd: join(root, "python"),
        env: { ...process.env, ...env },
      });
      entries = JSON.parse(wheel.toString()) as typeof entries;
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("makes a package of the npm package's version, with the command", () => {
    const folder = `torchwire_worker-${version}.dist-info`;
    expect(entries[`${folder}/METADATA`]).toMatch(new RegExp(`^Version: ${version.replaceAll(".", "\\.")}$`, "m"));
    expect(entries[`${folder}/entry_points.txt`]).toContain("torchwire-worker=torchwire_worker.cli:main");
  });

  test("with all of the worker's files, and nothing else", () => {
    const sources = readdirSync(join(root, "python", "torchwire_worker"), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.parentPath.includes("__pycache__"))
      .map((entry) => join(entry.parentPath, entry.name).slice(join(root, "python/").length));
    expect(
      Object.keys(entries)
        .filter((name) => !name.includes(".dist-info/"))
        .toSorted(),
    ).toEqual(sources.toSorted());
  });

  test("needs what the lock has, in versions that the lock's satisfy", () => {
    const metadata = entries[`torchwire_worker-${version}.dist-info/METADATA`]!;
    const needed = [...metadata.matchAll(/^Requires-Dist: ([\w-]+)(?:>=([\d.]+))?$/gm)].map(([, name, least]) => ({
      name,
      least,
    }));
    expect(needed.map(({ name }) => name as string).toSorted()).toEqual([
      "msgspec",
      "numpy",
      "pyzmq",
      "safetensors",
      "torch",
      "torchvision",
    ]);
    const lock = read("python/requirements.lock");
    for (const { name, least } of needed) {
      const locked = new RegExp(`^${name}==([\\d.]+)`, "m").exec(lock)?.[1];
      expect(locked).toBeDefined();
      expect(locked!.localeCompare(least ?? "0", "en", { numeric: true })).toBeGreaterThanOrEqual(0);
    }
  });
});
