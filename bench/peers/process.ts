/** A peer: a way to train from JavaScript, in processes of its own. */
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { mnist } from "../../test/training.ts";

export type PeerModel = "mlp" | "cnn";

export interface PeerOptions {
  /** `native`, or what bench/programs/peers/serve.mjs is given: `tfjs:wasm`. */
  readonly peer: string;
  readonly model: PeerModel;
  readonly python: string;
  /** The folder that the packages are installed in. */
  readonly packages: string;
}

export interface Ran {
  readonly seconds: number;
  /** That of the last step. */
  readonly loss: number;
}

export interface Learned extends Ran {
  readonly epochs: number;
  readonly accuracy: number;
}

export interface Peer {
  readonly pids: readonly number[];
  readonly versions: Readonly<Record<string, string>>;
  /** Runs steps, and reads the loss of each. */
  readonly run: (steps: number) => Promise<Ran>;
  /** Trains a fresh model until it knows this share of the images. */
  readonly learn: (until: {
    readonly accuracy: number;
    /** At most so many. */
    readonly epochs: number;
    /** Those of an epoch. Default: all. */
    readonly batches?: number;
  }) => Promise<Learned>;
  readonly close: () => Promise<void>;
}

const program = (name: string): string => fileURLToPath(new URL(`../programs/peers/${name}`, import.meta.url));

/** Throws what the peer says where it cannot start. So do its functions. */
export async function startPeer({ peer, model, python, packages }: PeerOptions): Promise<Peer> {
  const [file, ...args] =
    peer === "native"
      ? [python, program("native.py"), model, mnist]
      : [process.execPath, program("serve.mjs"), peer, model, mnist];
  const env = { TORCHWIRE_PYTHON: python, TORCHWIRE_BENCH_PEERS: packages, PYTHONUNBUFFERED: "1" };
  const child = execa(file, args, { env });
  // Whoever waits for the next line hears how it ended.
  child.catch(() => undefined);
  const lines = child.iterable();
  const read = async <T>(): Promise<T> => {
    const { value, done } = await lines.next().catch((error: unknown) => {
      throw new Error(`${peer} ended: ${(error as Error).message}`);
    });
    if (done) throw new Error(`${peer} ended without an answer`);
    const answer = JSON.parse(value) as T & { error?: string };
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  };
  const ask = <T>(message: object): Promise<T> => {
    child.stdin.write(`${JSON.stringify(message)}\n`);
    return read<T>();
  };
  const { versions, pids } = await read<Pick<Peer, "versions" | "pids">>();
  return {
    pids,
    versions,
    run: (steps) => ask({ cmd: "run", steps }),
    learn: (until) => ask({ cmd: "learn", ...until }),
    async close() {
      child.stdin.end();
      await child.catch(() => undefined);
    },
  };
}
