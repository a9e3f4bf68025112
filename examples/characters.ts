/**
 * Text by characters: which character follows these sixteen? The model learns from this repository's own pages, and
 * then writes.
 *
 * A table holds a vector for each character, and a small network turns the vectors into scores of the next character
 * (Bengio et al., 2003). The perplexity is the number of characters among which it still hesitates: at first, all of
 * them.
 *
 *     npx tsx --conditions=torchwire-source examples/characters.ts [characters, 60000 by default]
 */
import { readdir, readFile } from "node:fs/promises";
import { adamW, crossEntropy, DataLoader, Learner, Metrics, oneCycle, Scheduler } from "torchwire";
import { spawnWorker, type Dataset, type NDArray } from "torchwire";
import { perplexity } from "torchwire/metrics";

const root = new URL("../", import.meta.url);
const pages = (await readdir(new URL("docs/", root))).filter((name) => name.endsWith(".md")).toSorted();
const files = ["README.md", ...pages.map((name) => `docs/${name}`)].map((name) =>
  readFile(new URL(name, root), "utf8"),
);
const text = (await Promise.all(files)).join("\n").replaceAll(/[^\n -~]/g, ""); // ASCII only
const alphabet = [...new Set(text)].toSorted();
const codes = Int32Array.from(text.slice(0, Number(process.argv[2] ?? 60_000)), (one) => alphabet.indexOf(one));

/** The number of characters that the model sees. */
const CONTEXT = 16;
const context = (data: Int32Array): NDArray => ({ dtype: "int32", shape: [CONTEXT], data });

/** Sample i: the characters from i on, and the character after them. */
const windows = (part: Int32Array): Dataset => ({
  length: part.length - CONTEXT,
  get: (i) => ({ xs: context(part.subarray(i, i + CONTEXT)), ys: part[i + CONTEXT]! }),
});
const end = Math.round(0.9 * codes.length);

await using worker = await spawnWorker({ seed: 0 });
const { nn } = worker.import("torch");
const model = nn.Sequential(
  nn.Embedding(alphabet.length, 24),
  nn.Flatten(),
  nn.Linear(CONTEXT * 24, 256),
  nn.ReLU(),
  nn.Linear(256, alphabet.length),
);
const learner = new Learner(model, crossEntropy(), {
  data: {
    training: new DataLoader(windows(codes.subarray(0, end)), { batchSize: 256, shuffle: true }),
    validation: new DataLoader(windows(codes.subarray(end)), { batchSize: 1024 }),
  },
  optimizer: adamW(),
  callbacks: [new Metrics(perplexity()), new Scheduler({ lr: oneCycle("run", 1e-2) })],
});
await learner.fit(3);

let written = "The learner is a";
while (written.length < 200) {
  const last = Int32Array.from(written.slice(-CONTEXT), (one) => alphabet.indexOf(one));
  const [next] = await learner.predict({ ...context(last), shape: [1, CONTEXT] }, { classes: alphabet });
  written += next!.label;
}
console.log(`\n${alphabet.length} different characters. It writes:\n\n${written}`);
