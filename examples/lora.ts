/**
 * LoRA (Hu et al., 2021): a language model learns another language, and all of its weights stay as they are. A small
 * Llama of transformers reads this repository's English pages, letter by letter. Then low-rank adapters of peft, beside
 * its layers, learn TypeScript. What it writes before and after is sampled by transformers' `generate`.
 *
 *     npx torchwire add transformers peft
 *     npx tsx --conditions=torchwire-source examples/lora.ts [letters of each language, 100000 by default] [epochs, 3]
 */
import { readdir, readFile } from "node:fs/promises";
import { adamW, DataLoader, kw, Learner, py, spawnWorker, split } from "torchwire";
import type { AnyRef, LearnerData } from "torchwire";
import { ownLoss } from "torchwire/losses";

const letters = Number(process.argv[2] ?? 100_000);
const epochs = Number(process.argv[3] ?? 3);
/** The letters that the model sees at once. */
const CONTEXT = 64;
const tokens = (text: string) => Int32Array.from(text, (character) => character.charCodeAt(0));

/** The text of a folder's files, in pieces. A language model's targets are its inputs: it sees to the shift itself. */
async function reading(folder: string, end: string): Promise<LearnerData> {
  const root = new URL(`../${folder}/`, import.meta.url);
  const files = (await readdir(root)).filter((name) => name.endsWith(end)).toSorted();
  const texts = await Promise.all(files.map((name) => readFile(new URL(name, root), "utf8")));
  const text = texts.join("\n").replaceAll(/```.*?```|[^\n -~]/gs, "");
  const samples = Array.from({ length: Math.floor(Math.min(letters, text.length) / CONTEXT) }, (_, i) => {
    const piece = tokens(text.slice(i * CONTEXT, (i + 1) * CONTEXT));
    return { xs: { input_ids: piece }, ys: piece };
  });
  const [training, validation] = split(samples, 0.9);
  return {
    training: new DataLoader(training, { batchSize: 16, shuffle: true }),
    validation: new DataLoader(validation, { batchSize: 64 }),
  };
}

await using worker = await spawnWorker({ seed: 0 });
const { LlamaConfig, LlamaForCausalLM } = worker.import("transformers");
const { get_peft_model, LoraConfig } = worker.import("peft");

/** 200 letters that follow on "The ", each drawn from the likeliest five. */
const written = (model: AnyRef) =>
  worker.context({ mode: "inference", eval: [model] }, async () => {
    const start = worker.tensor([[...tokens("The ")]], { dtype: "int64" }).to(worker.device);
    const ids = model.generate(start, kw({ max_new_tokens: 200, do_sample: true, top_k: 5 }));
    const { data } = await py.ndarray(ids[0]);
    return String.fromCharCode(...Array.from(data, Number));
  });

const size = { hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 4 };
const base = LlamaForCausalLM(LlamaConfig(kw({ ...size, vocab_size: 128, max_position_embeddings: 256 })));
const english = new Learner(base, ownLoss(), {
  data: await reading("docs", ".md"),
  optimizer: adamW({ lr: 1e-2 }),
});
await english.fit(epochs);
console.log(`\nIt writes English:\n\n${await written(base)}\n`);

const adapted = get_peft_model(base, LoraConfig(kw({ task_type: "CAUSAL_LM", target_modules: "all-linear", r: 4 })));
const typescript = new Learner(adapted, ownLoss(), {
  data: await reading("client/callbacks", ".ts"),
  optimizer: adamW({ lr: 1e-2 }),
});
await typescript.fit(epochs);
const { trainable, parameters } = await typescript.summary();
console.log(`\nIt writes TypeScript, by ${trainable} of ${parameters} parameters:\n\n${await written(adapted)}`);
