/**
 * Other ways to train from JavaScript: the same model on the same images, in one run. It measures steps a second, and
 * the time until a model knows the images.
 */
import { installPeers } from "./peers/install.ts";
import { startPeer, type Peer, type PeerModel } from "./peers/process.ts";
import { measure, type Contest, type Measured, type Opened, type Variant } from "./rounds.ts";
import type { Surroundings } from "./section.ts";

const NATIVE = "plain PyTorch script";
const IN_PYTORCH = {
  native: NATIVE,
  torchwire: "torchwire",
  stdio: "child process, JSON over stdio",
  pythonia: "pythonia, PyTorch op by op",
};
const PEERS: Readonly<Record<string, string>> = {
  ...IN_PYTORCH,
  "tfjs:wasm": "TensorFlow.js, WebAssembly",
  "tfjs:cpu": "TensorFlow.js, JavaScript alone",
};
const INSTALLED: readonly string[] = ["pythonia", "tfjs:wasm", "tfjs:cpu"];
const MODELS: readonly PeerModel[] = ["mlp", "cnn"];
const BATCH = 64;
const GOAL = 0.97;
const MOST_EPOCHS = 30;
/** Their losses tell whether all train the same thing. */
const FIRST_STEPS = 20;
/** A peer whose step takes longer is not measured in rounds, and learns nothing here. */
const TOO_SLOW_SECONDS = 1;

interface Started {
  readonly name: string;
  readonly peer: Peer;
  readonly loss: number;
  /** So many fill the time of a run. */
  readonly steps: number;
}

export async function measurePeers(surroundings: Surroundings): Promise<Measured[]> {
  const { progress } = surroundings;
  const packages = await installPeers(progress).catch((error: unknown) => error as Error);
  const measured: Measured[] = [];
  for (const model of MODELS) {
    const notes: Record<string, string> = {};
    if (packages instanceof Error)
      for (const peer of INSTALLED) notes[PEERS[peer]!] = `does not install: ${packages.message}`;
    measured.push(
      ...(await measure(
        () => open(surroundings, model, String(packages), notes),
        1,
        surroundings,
        (text) => progress(`peers, ${model}: ${text}`),
      )),
    );
  }
  return measured;
}

/** `notes` says which variants cannot be measured, and gets those that turn out so. The plain script must be there. */
async function open(
  surroundings: Surroundings,
  model: PeerModel,
  packages: string,
  notes: Record<string, string>,
): Promise<Opened> {
  const { python, quick, sawVersions } = surroundings;
  const started: Started[] = [];
  let versions: Readonly<Record<string, string>> = {};
  for (const [peer, name] of Object.entries(PEERS)) {
    if (notes[name] !== undefined) continue;
    let running: Peer | undefined;
    try {
      running = await startPeer({ peer, model, python, packages });
      versions = { ...running.versions, ...versions };
      const fit = await firstSteps(running, surroundings, name === NATIVE);
      if (typeof fit === "object") {
        started.push({ name, peer: running, ...fit });
        continue;
      }
      notes[name] = `one step takes ${fit.toPrecision(2)} s`;
    } catch (error) {
      if (name === NATIVE) throw error;
      notes[name] = `does not train it: ${(error as Error).message}`;
    }
    await running?.close();
  }
  sawVersions(versions);
  const contests = [speed(model, started, notes), learning(model, started, notes, quick)];
  return {
    contests,
    pids: started.flatMap(({ peer }) => peer.pids),
    async close() {
      await Promise.all(started.map(({ peer }) => peer.close()));
    },
  };
}

/** Warms a peer up. Gives the seconds of a step where that is too slow, unless it must be measured. */
async function firstSteps(
  peer: Peer,
  { runSeconds }: Surroundings,
  must: boolean,
): Promise<Pick<Started, "loss" | "steps"> | number> {
  const { seconds } = await peer.run(1);
  if (seconds > TOO_SLOW_SECONDS) {
    const { seconds: warm } = await peer.run(1);
    if (warm > TOO_SLOW_SECONDS && !must) return warm;
    await peer.run(FIRST_STEPS - 2);
  } else await peer.run(FIRST_STEPS - 1);
  const { loss } = await peer.run(1);
  // The first run compiles.
  await peer.run(FIRST_STEPS);
  const { seconds: each } = await peer.run(FIRST_STEPS);
  return { loss, steps: Math.max(1, Math.round((FIRST_STEPS * runSeconds) / each)) };
}

function speed(model: PeerModel, started: readonly Started[], notes: Readonly<Record<string, string>>): Contest {
  const losses = started.map(({ name, loss }) => `${name} ${loss.toPrecision(4)}`);
  const inPyTorch = started.filter(({ name }) => Object.values<string>(IN_PYTORCH).includes(name));
  return {
    name: `${model}, batch ${BATCH}: steps a second`,
    primary: "steps/s",
    better: "higher",
    reference: NATIVE,
    columns: ["steps/s", "ms/step"],
    variants: started.map(({ name, peer, steps }): Variant => {
      return {
        name,
        async run() {
          const { seconds } = await peer.run(steps);
          return { "steps/s": steps / seconds, "ms/step": (1000 * seconds) / steps };
        },
      };
    }),
    notes,
    facts: {
      [`losses after ${FIRST_STEPS} steps`]: losses.join(", "),
      "those in PyTorch have the same loss, to the last bit": inPyTorch.every(
        ({ loss }) => loss === inPyTorch[0]!.loss,
      ),
    },
  };
}

/** One run of each: the slowest takes half a minute. */
function learning(
  model: PeerModel,
  started: readonly Started[],
  notes: Readonly<Record<string, string>>,
  quick: boolean,
): Contest {
  const until = quick ? { accuracy: 0, epochs: 1, batches: 5 } : { accuracy: GOAL, epochs: MOST_EPOCHS };
  return {
    name: `${model}, batch ${BATCH}: until it tells ${100 * GOAL} % of MNIST's first 10,000 images, on which it trains`,
    primary: "s",
    better: "lower",
    reference: NATIVE,
    columns: ["s", "epochs", "% right"],
    rounds: 1,
    variants: started.map(({ name, peer }): Variant => {
      return {
        name,
        async run() {
          const { seconds, epochs, accuracy } = await peer.learn(until);
          return { s: seconds, epochs, "% right": 100 * accuracy };
        },
      };
    }),
    notes,
  };
}
