/**
 * A classifier of text from Hugging Face's transformers: is a line English, TypeScript or Python? The lines are this
 * repository's own. A character's code is its token, so the model, a small BERT, reads letter by letter.
 *
 * Lines differ in length. Those of a batch are filled up to the longest, and a mask tells BERT what was filled up;
 * lines of similar length come together, so that little is.
 *
 *     npx torchwire add transformers
 *     npx tsx --conditions=torchwire-source examples/languages.ts [lines of each, 600 by default] [epochs, 3]
 */
import { readdir, readFile } from "node:fs/promises";
import { accuracy, adamW, crossEntropy, DataLoader, kw, Learner, Metrics, spawnWorker } from "torchwire";
import { pad } from "torchwire/data";

const count = Number(process.argv[2] ?? 600);
const epochs = Number(process.argv[3] ?? 3);
const sources = [
  { language: "English", folder: "docs", end: ".md" },
  { language: "TypeScript", folder: "client", end: ".ts" },
  { language: "Python", folder: "python", end: ".py" },
];
const classes = sources.map(({ language }) => language);
const tokens = (line: string) => Int32Array.from(line, (character) => character.charCodeAt(0));

/** So many lines of one language, without comments and code among other things, from all over its files. */
async function linesOf({ folder, end }: (typeof sources)[number]): Promise<string[]> {
  const root = new URL(`../${folder}/`, import.meta.url);
  const files = (await readdir(root, { recursive: true })).filter((name) => name.endsWith(end)).toSorted();
  const texts = await Promise.all(files.map((name) => readFile(new URL(name, root), "utf8")));
  const text = texts.join("\n").replaceAll(/```.*?```|""".*?"""/gs, "");
  const all = text.split("\n").flatMap((line) => /^ *([A-Za-z][ -~]{11,63})/.exec(line)?.[1] ?? []);
  return Array.from({ length: count }, (_, i) => all[Math.floor((i * all.length) / count)]!);
}
const samples = (await Promise.all(sources.map(linesOf))).flatMap((some, ys) =>
  some.map((line) => ({ xs: { input_ids: tokens(line) }, ys })),
);
const part = (isIn: (i: number) => boolean) => {
  const some = samples.filter((_, i) => isIn(i));
  return new DataLoader(some, {
    batchSize: 32,
    shuffle: true,
    bucketBy: (i) => some[i]!.xs.input_ids.length,
    collate: { xs: { input_ids: pad({ mask: "attention_mask" }) } },
  });
};

await using worker = await spawnWorker({ seed: 0 });
const { BertConfig, BertForSequenceClassification } = worker.import("transformers");
const size = { hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, intermediate_size: 128 };
const config = BertConfig(kw({ ...size, vocab_size: 128, max_position_embeddings: 64, num_labels: classes.length }));

const learner = new Learner(BertForSequenceClassification(config), crossEntropy(), {
  data: { training: part((i) => i % 5 !== 0), validation: part((i) => i % 5 === 0) },
  output: (y) => y.logits,
  optimizer: adamW({ lr: 1e-3 }),
  callbacks: [new Metrics(accuracy)],
});
await learner.fit(epochs);

const lines = ["The worker runs them in their order.", "const two = await one + 1;", "if two is not None: return one"];
const [input_ids, attention_mask] = pad({ mask: true })(lines.map(tokens));
const answers = await learner.predict({ input_ids, attention_mask }, { classes });
for (const [i, { label, probability }] of answers.entries())
  console.log(`${lines[i]!.padEnd(38)} ${label}, by ${(100 * probability).toFixed(0)} %`);
