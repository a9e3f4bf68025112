/** The end of a process's output: a line without an end is told, too, and before the process counts as over. */
import { EventEmitter } from "node:events";
import { PassThrough, Readable } from "node:stream";
import { expect, test } from "vitest";
import { closePipesAtExit, forEachLine } from "../../../bridge/process/lines.ts";

/** A pipe that takes a while to close, as those of a busy program do. */
class Pipe extends Readable {
  override _read(): void {}

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    setTimeout(done, 30, error);
  }
}

class Child extends EventEmitter {
  readonly pid: number | undefined;
  readonly stdio: [PassThrough, Pipe, Pipe, undefined, undefined];

  constructor(pid?: number) {
    super();
    this.pid = pid;
    this.stdio = [new PassThrough(), new Pipe(), new Pipe(), undefined, undefined];
  }
}

test("a pipe that has ended and is not closed yet is waited for", async () => {
  const child = new Child(1);
  const [, stdout, stderr] = child.stdio;
  const lines: string[] = [];
  forEachLine(stdout, (line) => void lines.push(line));
  const read = closePipesAtExit(child);
  stderr.resume().push(null);
  stdout.push("first\nno end");
  stdout.push(null);
  stdout.once("end", () => child.emit("exit"));
  await read;
  expect(lines).toEqual(["first", "no end"]);
});

test("so is one that another process keeps open: it is closed, and what came is told", async () => {
  const child = new Child(1);
  const [, stdout, stderr] = child.stdio;
  const lines: string[] = [];
  forEachLine(stdout, (line) => void lines.push(line));
  const read = closePipesAtExit(child);
  stdout.push("no end");
  child.emit("exit");
  await read;
  expect(lines).toEqual(["no end"]);
  expect([stdout.closed, stderr.closed]).toEqual([true, true]);
});

test("a process that could not be started has none", async () => {
  await expect(closePipesAtExit(new Child())).resolves.toBeUndefined();
});
