/**
 * Rows of a table: which species is a penguin, by four measurements?
 *
 * The program reads a CSV file, leaves out penguins without measurements, and scales the columns by the training rows
 * alone, since the model must know nothing of the others. The fit ends when the loss on the others stops falling, and
 * goes back to its best state.
 *
 *     npx tsx --conditions=torchwire-source examples/penguins.ts
 */
import { readFile } from "node:fs/promises";
import { accuracy, adamW, crossEntropy, DataLoader, EarlyStopping, Learner, Metrics, spawnWorker } from "torchwire";
import * as stopping from "torchwire/stopping";

const csv = await readFile(new URL("data/penguins.csv", import.meta.url), "utf8");
const penguins = csv
  .trimEnd()
  .split(/\r?\n/)
  .slice(1)
  .map((line) => line.split(","))
  // The columns are species, island, three lengths in mm and the mass in g. "NA" gives NaN.
  .map(([species, , ...columns]) => ({ species: species!, measures: columns.slice(0, 4).map(Number) }))
  .filter(({ measures }) => measures.every(Number.isFinite));
const classes = [...new Set(penguins.map(({ species }) => species))];

// The rows are sorted by species, so every fourth one is kept for validation.
const training = penguins.filter((_, i) => i % 4 !== 0);
const validation = penguins.filter((_, i) => i % 4 === 0);

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const scales = [0, 1, 2, 3].map((column) => {
  const values = training.map(({ measures }) => measures[column]!);
  const middle = mean(values);
  return { middle, deviation: Math.sqrt(mean(values.map((value) => (value - middle) ** 2))) };
});
const rows = (some: typeof penguins) => ({
  xs: some.map(({ measures }) => measures.map((value, i) => (value - scales[i]!.middle) / scales[i]!.deviation)),
  ys: some.map(({ species }) => classes.indexOf(species)),
});

await using worker = await spawnWorker({ seed: 0 });
const { nn } = worker.import("torch");
const model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, classes.length));

const learner = new Learner(model, crossEntropy(), {
  data: {
    training: new DataLoader(rows(training), { batchSize: 16, shuffle: true }),
    validation: new DataLoader(rows(validation), { batchSize: 128 }),
  },
  optimizer: adamW({ lr: 1e-2 }),
  callbacks: [new Metrics(accuracy), new EarlyStopping(stopping.numberSinceBest(5), { restoreBest: true })],
});
const { reason } = await learner.fit(50);
console.log(`\n${reason}`);

const predictions = await learner.predict(learner.data.validation!, { classes });
const wrong = predictions.flatMap(({ label, probability }, i) => {
  const { species, measures } = validation[i]!;
  const [length, depth, flipper, mass] = measures;
  const bird = `${species}, bill ${length} by ${depth} mm, flipper ${flipper} mm, ${mass} g`;
  return label === species ? [] : [`${bird}: taken for ${label}, by ${(100 * probability).toFixed(0)} %`];
});
console.log(
  [`${validation.length - wrong.length} of ${validation.length} penguins are what they seem`, ...wrong].join("\n"),
);
