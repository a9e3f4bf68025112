/**
 * The counterpart of first_step.py. The worker starts while this program reads its data.
 *
 *     node first-step.mjs FOLDER_OF_MNIST STEPS
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DataLoader, kw, py, spawnWorker } from "torchwire";
import { readIdx } from "torchwire/data";

const [folder, steps] = [process.argv[2], Number(process.argv[3])];

const [worker, images, labels] = await Promise.all([
  spawnWorker({ device: "cpu", seed: 0 }),
  readIdx(join(folder, "train-images-idx3-ubyte")),
  readIdx(join(folder, "train-labels-idx1-ubyte")),
]);
const torch = worker.import("torch");
const { nn } = torch;
const model = nn.Sequential(
  nn.Conv2d(1, 16, 3, kw({ padding: 1 })),
  nn.ReLU(),
  nn.MaxPool2d(2),
  nn.Conv2d(16, 32, 3, kw({ padding: 1 })),
  nn.ReLU(),
  nn.MaxPool2d(2),
  nn.Flatten(),
  nn.Linear(32 * 7 * 7, 10),
);
const optimizer = torch.optim.Adam(model.parameters(), kw({ lr: 1e-3 }));

let i = 0;
for await (const { xs, ys } of new DataLoader({ xs: images, ys: labels }, { batchSize: 64 })) {
  const value = await worker.scope(() => {
    const x = worker.tensor(xs).unsqueeze(1).float().div(255);
    const y = worker.tensor(ys).long();
    const loss = nn.functional.cross_entropy(model(x), y);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    return py.js(loss.item());
  });
  if (i === 0) console.log("first", value);
  if (i++ === steps) break;
}
console.log("rest", residentBytes(worker.pid), residentBytes(process.pid));
console.log("versions", JSON.stringify(worker.versions));
await worker.close();

/** The resident bytes of a process (Linux; elsewhere 0). */
function residentBytes(pid) {
  try {
    return 4096 * Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]);
  } catch {
    return 0;
  }
}
