/**
 * A policy gradient (REINFORCE: Williams, 1992): a small network learns to balance a pole on a cart. The carts are
 * plain TypeScript; the network that steers them is PyTorch's. All carts move together, so that each moment costs one
 * round trip, with one cart as with 256.
 *
 *     npx tsx --conditions=torchwire-source examples/policy-gradient.ts [updates, 30 by default] [carts, 256]
 */
import { kw, py, spawnWorker } from "torchwire";
import { generator } from "./random.ts";

const updates = Number(process.argv[2] ?? 30);
const carts = Number(process.argv[3] ?? 256);
/** Moments in a game, at most: 2 seconds. */
const MOMENTS = 100;
const DISCOUNT = 0.98;
const random = generator();

/** Position and speed of the cart, angle and angular speed of the pole. */
type State = readonly [x: number, v: number, angle: number, w: number];

const little = (): number => 0.1 * random() - 0.05;
const begin = (): State => [little(), little(), little(), little()];

/** The cart after a fiftieth of a second in which it was pushed to the left or to the right (Barto et al., 1983). */
function move([x, v, angle, w]: State, right: boolean): State {
  // The angle is small: short series do, and give the same bits in every language.
  const square = angle * angle;
  const sin = angle * (1 - square / 6 + (square * square) / 120);
  const cos = 1 - square / 2 + (square * square) / 24;
  const push = ((right ? 10 : -10) + 0.05 * w * w * sin) / 1.1;
  const turn = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - (0.1 * cos * cos) / 1.1));
  const speedUp = push - (0.05 * turn * cos) / 1.1;
  return [x + 0.02 * v, v + 0.02 * speedUp, angle + 0.02 * w, w + 0.02 * turn];
}

const hasFallen = ([x, , angle]: State): boolean => Math.abs(x) > 2.4 || Math.abs(angle) > 0.2095;

await using worker = await spawnWorker({ seed: 0 });
const torch = worker.import("torch");
const policy = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1)).to(worker.device);
const optimizer = torch.optim.Adam(policy.parameters(), kw({ lr: 0.02 }));
const tensor = (values: Float32Array, ...shape: number[]) =>
  worker.tensor({ dtype: "float32", shape, data: values }).to(worker.device);

/** How likely the policy pushes to the right, in each of these states. */
const chances = (states: readonly State[]): Promise<number[]> =>
  worker.context({ mode: "inference" }, async () => {
    const seen = tensor(Float32Array.from(states.flat()), states.length, 4);
    return Array.from((await py.ndarray(policy(seen).squeeze(1).sigmoid())).data, Number);
  });

interface Game {
  readonly states: State[];
  /** 1: to the right. */
  readonly pushes: number[];
}

/** One game of each cart. */
async function play(): Promise<Game[]> {
  const games = Array.from({ length: carts }, (): Game => ({ states: [], pushes: [] }));
  let moving = games.map((game) => ({ game, state: begin() }));
  for (let moment = 0; moment < MOMENTS && moving.length > 0; moment++) {
    const chance = await chances(moving.map(({ state }) => state));
    moving = moving.flatMap(({ game, state }, i) => {
      const right = random() < chance[i]!;
      game.states.push(state);
      game.pushes.push(Number(right));
      const next = move(state, right);
      return hasFallen(next) ? [] : [{ game, state: next }];
    });
  }
  return games;
}

/** For each moment the discounted time that the pole stayed up after it. */
function gains(length: number): number[] {
  const all = Array<number>(length);
  for (let i = length - 1, gain = 0; i >= 0; i--) all[i] = gain = 1 + DISCOUNT * gain;
  return all;
}

for (let update = 1; update <= updates; update++) {
  const games = await play();
  const states = games.flatMap((game) => game.states);
  const loss = await worker.scope(() => {
    const seen = tensor(Float32Array.from(states.flat()), states.length, 4);
    const pushes = tensor(Float32Array.from(games.flatMap((game) => game.pushes)), states.length);
    const gain = tensor(Float32Array.from(games.flatMap((game) => gains(game.states.length))), states.length);
    // Better than usual is to become likelier, worse is to become rarer.
    const advantage = gain.sub(gain.mean()).div(gain.std());
    const loss = torch.nn.functional.binary_cross_entropy_with_logits(
      policy(seen).squeeze(1),
      pushes,
      kw({ weight: advantage }),
    );
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    return py.js(loss.item());
  });
  const seconds = (0.02 * states.length) / carts;
  console.log(`update ${update}: the pole stays up for ${seconds.toFixed(3)} s; loss ${Number(loss)}`);
}
