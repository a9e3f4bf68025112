import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DataLoader } from "torchwire";
import { fromCsv, fromJsonLines, fromParquet, loadDataset, list, stack } from "torchwire/data";
import { golden } from "../../tables.ts";
import type { Cases, Given } from "../given.ts";

function written({ folder }: Given, name: string, text: string): string {
  const path = join(folder, name);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, text);
  return path;
}

const samples = { length: 2, get: (i: number): any => [{ tokens: Float32Array.of(1, 2).slice(i) }, i] };
export const rows: Cases = {
  "a CSV file that is not there": async ({ folder }) => await fromCsv(`${folder}/houses.csv`), // <-
  "a row of CSV with a cell too few": async (given) => {
    const path = written(given, "ragged.csv", "rooms,price\n3,100\n4\n");
    await fromCsv(path); // <-
  },
  "a cell of CSV that is no number": async (given) => {
    const path = written(given, "words.csv", "rooms,price\n3,100\n4,cheap\n");
    await fromCsv(path, { types: { price: "number" } }); // <-
  },
  "a type for a column that CSV has not": async (given) => {
    const path = written(given, "houses2.csv", "rooms,price\n3,100\n");
    await fromCsv(path, { types: { prices: "number" } }); // <-
  },
  "a type of a column that there is not": async (given) => {
    const path = written(given, "houses3.csv", "rooms,price\n3,100\n");
    await fromCsv(path, { types: { price: "float" as never } }); // <-
  },
  "an option that fromCsv has not": async (given) => {
    const path = written(given, "houses4.csv", "rooms,price\n3,100\n");
    await fromCsv(path, { sep: ";" } as never); // <-
  },
  "an option that loadDataset has not": async () => await loadDataset(golden("digits"), { spilt: "test" } as never), // <-
  "a semicolon where fromCsv expects commas": async (given) => {
    const path = written(given, "semicolons.csv", "rooms;price\n3;100\n");
    await fromCsv(path, { types: { price: "number" } }); // <-
  },
  "a line that is no JSON": async (given) => {
    const path = written(given, "lines.jsonl", '{"text": "a"}\n{text: "b"}\n');
    const lines = await fromJsonLines(path);
    await lines.get(1); // <-
  },
  "a Parquet file that is none": async ({ folder }) => await fromParquet(`${folder}/broken.safetensors`), // <-
  "a column that Parquet has not": async () => await fromParquet(golden("types.parquet"), { columns: ["labels"] }), // <-
  "a split that the data set has not": async () => await loadDataset(golden("digits"), { split: "validation" }), // <-
  "a configuration that the data set has not": async () => await loadDataset(golden("digits"), { name: "small" }), // <-
  "a folder that is no data set": async ({ folder }) => await loadDataset(`${folder}/photos`), // <-
  "a row that there is not": async () => {
    const digits = await loadDataset(golden("digits"), { split: "test" });
    await digits.get(1_000_000); // <-
  },
  "a map that gives nothing": async (given) => {
    const path = written(given, "few.csv", "x,y\n1,2\n3,4\n");
    const mapped = (await fromCsv(path)).map(() => undefined as never);
    for await (const batch of new DataLoader(mapped, { batchSize: 2 })) void batch; // <-
  },
  "a collate that has no such form": () => new DataLoader(samples, { batchSize: 2, collate: "pad" as never }), // <-
  "a collator for a part that samples have not": async () => {
    const loader = new DataLoader(samples, { batchSize: 2, collate: { xs: { token: list } } });
    for await (const batch of loader) void batch; // <-
  },
  "a collate that waits": async () => {
    const collate: any = async (all: readonly any[]) => ({ xs: stack(all), ys: stack(all) });
    const loader = new DataLoader(samples, { batchSize: 2, collate });
    for await (const batch of loader) void batch; // <-
  },
  "a collate that gives no batch": async () => {
    const loader = new DataLoader(samples, { batchSize: 2, collate: ((all: readonly any[]) => all.length) as never });
    for await (const batch of loader) void batch; // <-
  },
  "a length that is none": () => new DataLoader(samples, { batchSize: 2, bucketBy: () => "long" as never }), // <-
};
