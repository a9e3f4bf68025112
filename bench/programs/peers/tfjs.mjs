/** TensorFlow.js among the peers: in WebAssembly (`tfjs:wasm`), or in JavaScript alone (`tfjs:cpu`). */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { BATCH, PIXELS } from "./digits.mjs";

const require = createRequire(join(process.env.TORCHWIRE_BENCH_PEERS, "package.json"));

export async function make({ model: name, kind, digits: { images, labels } }) {
  const tf = require("@tensorflow/tfjs");
  if (kind === "wasm")
    require("@tensorflow/tfjs-backend-wasm").setWasmPaths(
      `${dirname(require.resolve("@tensorflow/tfjs-backend-wasm/package.json"))}/dist/`,
    );
  if (!(await tf.setBackend(kind))) throw new Error(`TensorFlow.js has no backend ${kind} here`);
  await tf.ready();

  // PyTorch's own initialisation: the same distribution, with other random numbers.
  const uniform = (shape, inputs) => tf.variable(tf.div(tf.randomUniform(shape, -1, 1), Math.sqrt(inputs)));
  const dense = (inputs, outputs) => [uniform([inputs, outputs], inputs), uniform([outputs], inputs)];
  const conv = (inputs, outputs) => [uniform([3, 3, inputs, outputs], 9 * inputs), uniform([outputs], 9 * inputs)];
  const models = {
    mlp: () => {
      const [first, second] = [dense(784, 128), dense(128, 10)];
      const forward = (x) => tf.add(tf.matMul(tf.relu(tf.add(tf.matMul(x, first[0]), first[1])), second[0]), second[1]);
      return { forward, weights: [first, second] };
    },
    cnn: () => {
      const [first, second, last] = [conv(1, 16), conv(16, 32), dense(32 * 7 * 7, 10)];
      const block = (x, [filter, bias]) =>
        tf.maxPool(tf.relu(tf.add(tf.conv2d(x, filter, 1, "same"), bias)), 2, 2, "valid");
      const forward = (x) => {
        const found = block(block(tf.reshape(x, [-1, 28, 28, 1]), first), second);
        return tf.add(tf.matMul(tf.reshape(found, [-1, 32 * 7 * 7]), last[0]), last[1]);
      };
      return { forward, weights: [first, second, last] };
    },
  };

  // It has no bytes: the images are numbers from 0 to 1 from the start.
  const pixels = Float32Array.from(images, (byte) => byte / 255);
  let model;
  let optimizer;
  const fresh = () => {
    model?.weights.flat().forEach((weight) => weight.dispose());
    optimizer?.dispose();
    model = models[name]();
    optimizer = tf.train.adam(3e-3, 0.9, 0.999, 1e-8);
  };
  fresh();
  return {
    versions: { tfjs: tf.version.tfjs },
    pids: [],
    fresh,
    async run(steps, next) {
      let last;
      for (let i = 0; i < steps; i++) {
        const start = next();
        tf.tidy(() => {
          const x = tf.tensor2d(pixels.subarray(start * PIXELS, (start + BATCH) * PIXELS), [BATCH, PIXELS]);
          const y = tf.oneHot(tf.tensor1d(labels.subarray(start, start + BATCH), "int32"), 10);
          const loss = optimizer.minimize(() => tf.losses.softmaxCrossEntropy(y, model.forward(x)), true);
          [last] = loss.dataSync();
        });
      }
      return last;
    },
    classes: async (data) =>
      tf.tidy(() => {
        const x = tf.tensor2d(
          Float32Array.from(data, (byte) => byte / 255),
          [data.length / PIXELS, PIXELS],
        );
        return tf.argMax(model.forward(x), 1).dataSync();
      }),
    close: () => undefined,
  };
}
