/** What could not be made deterministic is an error, or is named. */
import { expect, test } from "vitest";
import { spawnWorker, type SpawnOptions, type TorchwireError, type Worker } from "torchwire";
import { caught, untyped } from "../../observed.ts";
import { testWorker } from "../../worker.ts";

/** PyTorch has no deterministic way to do this. */
async function put(worker: Worker): Promise<unknown> {
  const torch = untyped(worker, "torch");
  const x = torch.zeros(4);
  return await x.put_(torch.tensor([0, 0]), torch.tensor([1, 2]).float()).numel();
}

test('deterministic: "warn" runs it, names it once, and passes other warnings on', async () => {
  const warned: string[] = [];
  await using worker = await testWorker({ deterministic: "warn", logger: collecting(warned) });
  expect((await worker.stats()).worker.nondeterministic).toEqual([]);
  expect([await put(worker), await put(worker)]).toEqual([4, 4]);
  await worker.import("warnings").warn("something else");
  const { worker: said } = await worker.stats();
  expect(said.nondeterministic).toEqual(["put_"]);
  await expect.poll(() => warned.join("\n")).toContain("something else");
  expect(warned.join("\n")).not.toContain("deterministic");
});

test("deterministic: true refuses it", async () => {
  await using worker = await testWorker({ deterministic: true });
  expect(String(await caught(() => put(worker)))).toContain("put_ does not have a deterministic implementation");
  expect((await worker.stats()).worker.nondeterministic).toEqual([]);
  // PyTorch's compiler, which takes a second to load, is not loaded for it, and is told when it is loaded.
  expect(await worker.import("sys").modules.get("torch._inductor")).toBeNull();
  const config = worker.import("torch._inductor.config");
  // (It is not in older ones.)
  expect(await worker.import("builtins").getattr(config, "deterministic", true)).toBe(true);
});

test("another word is refused before anything is started", async () => {
  const error = await caught(() => spawnWorker({ deterministic: "warning" } as unknown as SpawnOptions));
  expect((error as TorchwireError).code).toBe("MISUSE");
  expect(String(error)).toContain('deterministic must be true, false or "warn"');
});

function collecting(lines: string[]): NonNullable<SpawnOptions["logger"]> {
  const note = (...parts: unknown[]): void => void lines.push(JSON.stringify(parts));
  return { info: note, warn: note, error: note, debug: note, trace: note, fatal: note } as never;
}
