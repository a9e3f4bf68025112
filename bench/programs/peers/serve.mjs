/**
 * Serves one peer to the bench: a way to train from JavaScript, in a process of its own.
 *
 *     node serve.mjs PEER MODEL FOLDER_OF_MNIST
 *
 * PEER is a file beside this one, with its argument behind a colon: `tfjs:wasm`. It reads a JSON object a line from its
 * input, and answers each by one:
 *
 *     {"cmd": "run", "steps": 20}                          the next 20 steps, and the loss of each is read
 *     {"cmd": "learn", "accuracy": 0.97, "epochs": 30}     a fresh model, until so many of the 10,000 images are told right
 *
 * (An epoch is of as many batches as `"batches"` says; by default, of all.) Its first line says which versions it runs on, and which processes it has. A failure is {"error": …}, and its end.
 */
import { once } from "node:events";
import { createInterface } from "node:readline";
import { BATCH, BATCHES, COUNT, PIXELS, readDigits } from "./digits.mjs";

// Libraries print what they like.
console.log = console.info = console.error;
const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
const [peer, model, folder] = process.argv.slice(2);
const [name, kind] = peer.split(":");

try {
  const { make } = await import(`./${name}.mjs`);
  const digits = readDigits(folder);
  const made = await make({ model, kind, digits });
  say({ versions: made.versions, pids: [process.pid, ...made.pids] });
  let place = 0;
  /** The first image of the next batch. */
  const next = () => {
    const start = place * BATCH;
    place = (place + 1) % BATCHES;
    return start;
  };
  const run = (steps) => made.run(steps, next);
  const accuracy = async () => {
    let right = 0;
    for (let start = 0; start < COUNT; start += 1000) {
      const classes = await made.classes(digits.images.subarray(start * PIXELS, (start + 1000) * PIXELS));
      for (let i = 0; i < 1000; i++) if (classes[i] === digits.labels[start + i]) right++;
    }
    return right / COUNT;
  };
  const learn = async ({ accuracy: goal, epochs: most, batches = BATCHES }) => {
    await made.fresh();
    place = 0;
    for (let epochs = 1; ; epochs++) {
      const loss = await run(batches);
      const reached = await accuracy();
      if (reached >= goal || epochs >= most) return { epochs, accuracy: reached, loss };
    }
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const message = JSON.parse(line);
    const start = performance.now();
    const answer = message.cmd === "run" ? { loss: await run(message.steps) } : await learn(message);
    say({ seconds: (performance.now() - start) / 1000, ...answer });
  }
  await made.close();
  process.exit(0);
} catch (error) {
  if (!say({ error: String(error?.message ?? error) })) await once(process.stdout, "drain");
  process.exit(1);
}
