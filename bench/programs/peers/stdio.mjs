/** A Python script as a child process, which gets each batch as a line of JSON: the plain way without a library. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { BATCH, PIXELS } from "./digits.mjs";

export async function make({ model, digits: { images, labels } }) {
  const script = fileURLToPath(new URL("stdio.py", import.meta.url));
  const child = spawn(process.env.TORCHWIRE_PYTHON, [script, model], { stdio: ["pipe", "pipe", "inherit"] });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (message) => {
    child.stdin.write(`${JSON.stringify(message)}\n`);
    const { value, done } = await answers.next();
    if (done) throw new Error("the Python script ended without an answer");
    return JSON.parse(value);
  };
  await ask({});
  return {
    versions: {},
    pids: [child.pid],
    fresh: () => ask({}),
    async run(steps, next) {
      let last;
      for (let i = 0; i < steps; i++) {
        const start = next();
        const { loss } = await ask({
          images: Array.from(images.subarray(start * PIXELS, (start + BATCH) * PIXELS)),
          labels: Array.from(labels.subarray(start, start + BATCH)),
        });
        last = loss;
      }
      return last;
    },
    classes: async (data) => (await ask({ images: Array.from(data) })).classes,
    close: () => void child.stdin.end(),
  };
}
