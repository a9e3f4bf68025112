/**
 * Rows of a table: which species is a penguin, by four measurements?
 *
 * The program reads a CSV file, leaves out penguins without measurements, and scales the columns by the training rows
 * alone, since the model must know nothing of the others. The fit ends when the loss on the others stops falling, and
 * goes back to its best state.
 *
 *     npx tsx --conditions=torchwire-source examples/penguins.ts
 */
import { accuracy, adamW, crossEntropy, DataLoader, EarlyStopping, Learner, Metrics, spawnWorker } from "torchwire";
import { fromCsv } from "torchwire/data";
import * as stopping from "torchwire/stopping";

const names = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"] as const;
const table = await fromCsv(new URL("data/penguins.csv", import.meta.url), {
  types: {
    species: "string",
    bill_length_mm: "number",
    bill_depth_mm: "number",
    flipper_length_mm: "number",
    body_mass_g: "number",
  },
});
const penguins = await table
  .map((row) => ({ species: row.species, measures: names.map((name) => row[name]) }))
  // "NA" gives NaN.
  .filter(({ measures }) => measures.every(Number.isFinite));
const classes = await penguins.unique("species");

// The rows are sorted by species, so every fourth one is kept for validation.
const training = await penguins.filter((_, i) => i % 4 !== 0);
const validation = await penguins.filter((_, i) => i % 4 === 0);

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const measured = await training.column("measures");
const scales = names.map((_, column) => {
  const values = measured.map((measures) => measures[column]!);
  const middle = mean(values);
  return { middle, deviation: Math.sqrt(mean(values.map((value) => (value - middle) ** 2))) };
});
const samples = (some: typeof penguins) =>
  some.map(({ species, measures }) => ({
    xs: Float32Array.from(measures, (value, i) => (value - scales[i]!.middle) / scales[i]!.deviation),
    ys: classes.indexOf(species),
  }));

await using worker = await spawnWorker({ seed: 0 });
const { nn } = worker.import("torch");
const model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, classes.length));

const learner = new Learner(model, crossEntropy(), {
  data: {
    training: new DataLoader(samples(training), { batchSize: 16, shuffle: true }),
    validation: new DataLoader(samples(validation), { batchSize: 128 }),
  },
  optimizer: adamW({ lr: 1e-2 }),
  callbacks: [new Metrics(accuracy), new EarlyStopping(stopping.numberSinceBest(5), { restoreBest: true })],
});
const { reason } = await learner.fit(50);
console.log(`\n${reason}`);

const birds = await validation.toArray();
const predictions = await learner.predict(learner.data.validation!, { classes });
const wrong = predictions.flatMap(({ label, probability }, i) => {
  const { species, measures } = birds[i]!;
  const [length, depth, flipper, mass] = measures;
  const bird = `${species}, bill ${length} by ${depth} mm, flipper ${flipper} mm, ${mass} g`;
  return label === species ? [] : [`${bird}: taken for ${label}, by ${(100 * probability).toFixed(0)} %`];
});
console.log(
  [`${validation.length - wrong.length} of ${validation.length} penguins are what they seem`, ...wrong].join("\n"),
);
