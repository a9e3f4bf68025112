/**
 * Graphs: which digit is it, by nothing but which pixels are inked and which of them touch? Each inked pixel is a node,
 * and touching pixels have an edge, so every graph has another number of both. A batch is one large graph of parts that
 * are not connected, and says which node belongs to which part. The network is made of torch_geometric's layers.
 *
 *     npx torchwire add torch-geometric
 *     npx tsx --conditions=torchwire-source examples/digit-graphs.ts [training graphs, 4000 by default] [epochs, 8]
 */
import { accuracy, adam, crossEntropy, DataLoader, kw, Learner, Metrics, spawnWorker } from "torchwire";
import { toNDArray } from "torchwire/data";
import { cut, pictures, readDigits, type Digits } from "./digits.ts";

/** The graph of one digit, at half its size: the place of each node, and the two ends of each edge. */
function graph({ xs, ys }: Digits, digit: number) {
  const pixel = (y: number, x: number) => Number(xs.data[(28 * digit + y) * 28 + x]);
  const ink = (y: number, x: number) =>
    pixel(2 * y, 2 * x) + pixel(2 * y, 2 * x + 1) + pixel(2 * y + 1, 2 * x) + pixel(2 * y + 1, 2 * x + 1);
  const places = Array.from({ length: 14 * 14 }, (_, i) => [Math.floor(i / 14), i % 14] as const);
  const nodes = places.filter(([y, x]) => ink(y, x) >= 400);
  const edges = nodes.flatMap(([y, x], from) =>
    nodes.flatMap(([v, u], to) =>
      from !== to && Math.abs(y - v) < 2 && Math.abs(x - u) < 2 ? [[from, to] as const] : [],
    ),
  );
  return { nodes, edges, label: Number(ys.data[digit]) };
}
type Graph = ReturnType<typeof graph>;

/** One graph of them all: the numbers of its nodes go on from one part to the next. */
function together(graphs: readonly Graph[]) {
  const firsts = [0];
  for (const { nodes } of graphs) firsts.push(firsts.at(-1)! + nodes.length);
  const ends = (side: 0 | 1) => graphs.flatMap(({ edges }, i) => edges.map((edge) => firsts[i]! + edge[side]));
  return {
    xs: {
      x: toNDArray(graphs.flatMap(({ nodes }) => nodes.map(([y, x]) => [y / 7 - 1, x / 7 - 1]))),
      edge_index: toNDArray([ends(0), ends(1)], { dtype: "int64" }),
      batch: toNDArray(
        graphs.flatMap(({ nodes }, i) => nodes.map(() => i)),
        { dtype: "int64" },
      ),
    },
    ys: toNDArray(
      graphs.map(({ label }) => label),
      { dtype: "int64" },
    ),
    size: graphs.length,
  };
}

const digits = {
  training: await readDigits("training", Number(process.argv[2] ?? 4000)),
  test: await readDigits("test", 1000),
};
const loader = (some: Digits, batchSize: number, shuffle: boolean) => {
  const graphs = Array.from({ length: some.ys.data.length }, (_, i) => graph(some, i));
  return new DataLoader({ length: graphs.length, get: (i) => graphs[i]! }, { batchSize, shuffle, collate: together });
};

await using worker = await spawnWorker({ seed: 0 });
const { nn } = worker.import("torch");
const { global_max_pool, GraphConv, Sequential } = worker.import("torch_geometric.nn");

const layer = (from: number) => [[GraphConv(from, 64, kw({ aggr: "max" })), "x, edge_index -> x"], nn.ReLU()];
const model = Sequential("x, edge_index, batch", [
  ...layer(2),
  ...layer(64),
  ...layer(64),
  ...layer(64),
  [global_max_pool, "x, batch -> x"],
  nn.Linear(64, 10),
]);
const learner = new Learner(model, crossEntropy(), {
  data: { training: loader(digits.training, 64, true), validation: loader(digits.test, 250, false) },
  optimizer: adam({ lr: 3e-3 }),
  callbacks: [new Metrics(accuracy)],
});
await learner.fit(Number(process.argv[3] ?? 8));

const five = cut(digits.test, 0, 5);
const found = await learner.predict(loader(five, 5, false), { topK: 1 });
const captions = found.map(({ label, probability }) => `${label}, by ${(100 * probability).toFixed(0)} %`.padEnd(28));
console.log(`\n${pictures(five.xs)}\n${captions.join(" ").trimEnd()}`);
