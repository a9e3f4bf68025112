/**
 * SimCLR (Chen et al., 2020): a network learns what a picture shows without a single label. It sees each picture twice,
 * turned, moved and stretched at random, and learns to find the other half of each pair. Then a digit is known by its
 * nearest neighbour among 100 labelled ones.
 *
 *     npx tsx --conditions=torchwire-source examples/simclr.ts [training images, 6000 by default] [epochs, 5]
 */
import { AbstractTrainingPhase, adamW, crossEntropy, DataLoader, image, kw, Learner, py, spawnWorker } from "torchwire";
import type { AnyRef, BatchLike, Ref, Step } from "torchwire";
import type { Tensor } from "torchwire/bridge";
import { cut, readDigits, type Digits } from "./digits.ts";

const training = await readDigits("training", Number(process.argv[2] ?? 6000));
const epochs = Number(process.argv[3] ?? 5);
const test = await readDigits("test", 2000);
/** Scores are divided by this: the smaller it is, the more the nearest others count. */
const TEMPERATURE = 0.5;

await using worker = await spawnWorker({ seed: 0 });
const torch = worker.import("torch");
const { nn } = torch;
const F = nn.functional;

const encoder = nn.Sequential(
  nn.Conv2d(1, 16, 3, kw({ stride: 2, padding: 1 })),
  nn.ReLU(),
  nn.Conv2d(16, 32, 3, kw({ stride: 2, padding: 1 })),
  nn.ReLU(),
  nn.Flatten(),
  nn.Linear(32 * 7 * 7, 64),
);
/** The loss looks at this head's outputs. It forgets what the task needs, so the encoder is what is kept. */
const model = nn.Sequential(encoder, nn.ReLU(), nn.Linear(64, 32));

/** Another look at each picture [n, 1, 28, 28]: a random affine map, near the identity. */
function look(xs: Ref<Tensor>): Ref<Tensor> {
  const maps = torch
    .randn_like(xs.flatten(1).narrow(1, 0, 6))
    .mul(0.15)
    .view(-1, 2, 3)
    .add(torch.eye(2, 3));
  return F.grid_sample(xs, F.affine_grid(maps, xs.shape, kw({ align_corners: false })), kw({ align_corners: false }));
}

/** The cosines of all pairs of rows of `z` [2 n, 32], but for those of a row with itself. */
const cosines = (z: AnyRef) => {
  const rows = F.normalize(z);
  return rows.mm(rows.t()).fill_diagonal_(-Infinity);
};

/** Row `i` of 2 n must find row `i + n`, and that one row `i`. */
const others = (z: AnyRef) => torch.arange(py.at(z.shape, 0)).view(2, -1).flip(0).flatten();

class Contrastive extends AbstractTrainingPhase {
  readonly name = "training";

  step(learner: Learner, batch: BatchLike): Promise<Step> {
    return learner.runStep(this, batch, async (step, handle) => {
      step.yhat = learner.model(torch.cat([look(step.xs), look(step.xs)]));
      await handle("lossBegin");
      step.loss = learner.lossFn(cosines(step.yhat).div(TEMPERATURE), others(step.yhat));
      await handle("backwardBegin");
      learner.optimizer.zero_grad();
      learner.backward(step.loss);
      await handle("backwardEnd");
      learner.update();
    });
  }
}

/** The fraction of the test set whose nearest neighbour among `known` shows the same digit. */
function nearest(known: Digits): Promise<number> {
  return worker.context({ mode: "inference" }, async () => {
    const see = ({ xs }: Digits) => F.normalize(encoder(worker.tensor(xs).permute(0, 3, 1, 2).float().div(255)));
    const labels = ({ ys }: Digits) => worker.tensor(ys).long();
    const found = labels(known).index_select(0, see(test).mm(see(known).t()).argmax(1));
    return Number(await py.js(found.eq(labels(test)).float().mean().item()));
  });
}

const percent = (part: number): string => `${(100 * part).toFixed(1)} %`;
const known = cut(training, 0, 100);
const before = await nearest(known);
const learner = new Learner(model, crossEntropy(), {
  data: { training: new DataLoader(training, { batchSize: 64, shuffle: true, dropLast: true }) },
  input: image(),
  optimizer: adamW({ lr: 2e-3 }),
});
await learner.fit(epochs, { phases: { training: new Contrastive() } });
console.log(
  `\nby the nearest of 100 labelled digits: ${percent(before)} are right, and ${percent(await nearest(known))} now`,
);
