/** pythonia among the peers: PyTorch op by op, where each operation is awaited, as its users write it. */
import { createRequire } from "node:module";
import { join } from "node:path";
import { BATCH, PIXELS } from "./digits.mjs";

const require = createRequire(join(process.env.TORCHWIRE_BENCH_PEERS, "package.json"));

export async function make({ model: name, digits: { images, labels } }) {
  process.env.PYTHON_BIN = process.env.TORCHWIRE_PYTHON;
  const { python, com } = require("pythonia");
  const torch = await python("torch");
  const nn = await python("torch.nn");
  const F = await python("torch.nn.functional");
  const uint8 = await torch.uint8;
  const layers = {
    mlp: async () => [await nn.Flatten(), await nn.Linear(784, 128), await nn.ReLU(), await nn.Linear(128, 10)],
    cnn: async () => [
      await nn.Conv2d$(1, 16, 3, { padding: 1 }),
      await nn.ReLU(),
      await nn.MaxPool2d(2),
      await nn.Conv2d$(16, 32, 3, { padding: 1 }),
      await nn.ReLU(),
      await nn.MaxPool2d(2),
      await nn.Flatten(),
      await nn.Linear(32 * 7 * 7, 10),
    ],
  };
  // It has no bytes: an array goes over as JSON.
  const imagesOf = async (data) => {
    const bytes = await torch.tensor$(Array.from(data), { dtype: uint8 });
    const shaped = await bytes.view(-1, 1, 28, 28);
    const floats = await shaped.float();
    return floats.div(255);
  };
  let model;
  let optimizer;
  const fresh = async () => {
    await torch.manual_seed(0);
    model = await nn.Sequential(...(await layers[name]()));
    optimizer = await torch.optim.Adam$(await model.parameters(), { lr: 3e-3 });
  };
  await fresh();
  return {
    versions: { pythonia: require("pythonia/package.json").version },
    pids: [com.proc.pid],
    fresh,
    async run(steps, next) {
      let last;
      for (let i = 0; i < steps; i++) {
        const start = next();
        const x = await imagesOf(images.subarray(start * PIXELS, (start + BATCH) * PIXELS));
        const y = await torch.tensor(Array.from(labels.subarray(start, start + BATCH)));
        const loss = await F.cross_entropy(await model(x), y);
        await optimizer.zero_grad();
        await loss.backward();
        await optimizer.step();
        last = await loss.item();
      }
      return last;
    },
    async classes(data) {
      const yhat = await model(await imagesOf(data));
      const classes = await yhat.argmax(1);
      return (await classes.tolist()).valueOf();
    },
    close: () => python.exit(),
  };
}
