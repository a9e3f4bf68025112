/** The attacks of strangers on the two ports of a worker, one after the other, while an honest client works with it. */
import { setTimeout as sleep } from "node:timers/promises";
import { curveKeyPair, Dealer } from "zeromq";
import type { CurveKeys } from "../../bridge/link/connection.ts";
import { Dice } from "../fixtures/dice.ts";
import { hostile, hostileKinds, type HostileKind } from "./hostile.ts";
import { Ear, Peer } from "./peer.ts";
import { notOurs } from "./raw.ts";
import { greeting, message, tinyFrames } from "./zmtp.ts";

export interface Attack {
  /** The ports of data and of control. */
  readonly ports: readonly [number, number];
  readonly seed: number;
  /** Messages and connections, all told. */
  readonly count: number;
  /** The frames of the largest message. */
  readonly tinyFrames: number;
  readonly ear: Ear;
  /** For a worker with keys, the pair of a client that it lets in and that has no session. */
  readonly curve?: CurveKeys | undefined;
  readonly say?: (what: string) => void;
}

export type Sent = Record<
  HostileKind | "not ZeroMQ" | "slow handshakes" | "slow handshakes that were ended" | "wrong keys",
  number
>;

const SHARES: Readonly<Record<HostileKind, number>> = {
  "random bytes": 15,
  truncated: 15,
  "mutated golden vector": 40,
  "huge dimensions": 10,
  "wrong types": 10,
  "wrong token": 9.9,
  "tiny frames": 0.1,
};
const deck: readonly HostileKind[] = hostileKinds.flatMap((kind) =>
  Array<HostileKind>(Math.round(10 * SHARES[kind])).fill(kind),
);
/** Connections that are no ZeroMQ, for each message. */
const RAW_SHARE = 0.01;
/** As many as stay open at once. */
const SLOW = 50;
/** A worker ends a handshake that takes longer than five seconds; some more, where it is busy. */
const PATIENCE_MS = 20_000;
/** After the first answer on a connection: so long without another, and there is none to come. */
const QUIET_MS = 500;
/** What a connection is given before the next one is made. */
const A_CONNECTION = 2000;

export async function attack(options: Attack): Promise<Sent> {
  const { seed, count, curve, say = () => undefined } = options;
  const sent = Object.fromEntries(
    [...hostileKinds, "not ZeroMQ", "slow handshakes", "slow handshakes that were ended", "wrong keys"].map((kind) => [
      kind,
      0,
    ]),
  ) as Sent;
  const slow = slowHandshakes(options, sent);
  const raw = Math.ceil(count * RAW_SHARE);
  say("not ZeroMQ");
  await connections(options, raw, sent);
  if (curve !== undefined) {
    say("wrong keys");
    await wrongKeys(options, curve, sent);
  }
  say("messages");
  const dice = new Dice(seed + 1);
  const send = curve === undefined ? overPlainTcp(options) : overCurve(options, curve);
  for (let left = count - raw; left > 0; left -= A_CONNECTION)
    await send(
      Math.min(left, A_CONNECTION),
      () => {
        const kind = dice.pick(deck);
        sent[kind]++;
        return hostile(kind, dice);
      },
      dice,
    );
  say(`one message of ${options.tinyFrames} frames`);
  await tiny(options, curve);
  sent["tiny frames"]++;
  say("slow handshakes");
  await slow;
  return sent;
}

const portOf = ({ ports }: Attack, dice: Dice): number => ports[dice.chance(0.7) ? 0 : 1];

type Send = (count: number, next: () => Uint8Array[], dice: Dice) => Promise<void>;

/**
 * On a connection of its own: a good handshake, then as fast as the worker reads. Its end is in order, or in the middle
 * of a frame.
 */
function overPlainTcp(options: Attack): Send {
  return async (count, next, dice) => {
    const before = options.ear.refusals;
    const peer = await Peer.open(portOf(options, dice), options.ear);
    await peer.greet();
    for (let left = count; left > 0; left -= 100) {
      const pieces = Array.from({ length: Math.min(100, left) }, () => message(next()));
      await peer.write(Buffer.concat(pieces));
    }
    await refused(options.ear, before, count);
    if (dice.chance(0.5)) peer.reset();
    else peer.close();
    await peer.closed;
  };
}

function overCurve(options: Attack, keys: CurveKeys): Send {
  return async (count, next, dice) => {
    const before = options.ear.refusals;
    const socket = keyed(keys);
    socket.connect(`tcp://127.0.0.1:${portOf(options, dice)}`);
    const heard = listen(socket, options.ear);
    for (let i = 0; i < count; i++) {
      const parts = next();
      await socket.send(parts.length === 0 ? [new Uint8Array(0)] : parts);
    }
    await refused(options.ear, before, count);
    socket.close();
    await heard;
  };
}

const keyed = (keys: CurveKeys): Dealer =>
  new Dealer({ linger: 0, curveServerKey: keys.server, curvePublicKey: keys.public, curveSecretKey: keys.secret });

async function listen(socket: Dealer, ear: Ear): Promise<void> {
  for await (const parts of socket) for (const part of parts) ear.hear(Buffer.from(part), Buffer.alloc(0));
}

/**
 * Resolves when so many more than `before` have been refused, or, where some were answered otherwise, nothing comes any
 * more. A busy worker may be silent for long before its first answer.
 */
async function refused(ear: Ear, before: number, count: number): Promise<void> {
  const expected = before + count;
  for (const until = performance.now() + PATIENCE_MS; ear.refusals === before; await sleep(20))
    if (performance.now() > until) throw new Error(`the worker has refused none of ${count} messages`);
  for (let heard = -1; ear.refusals < expected && heard !== ear.bytes; await sleep(QUIET_MS)) heard = ear.bytes;
}

async function connections(options: Attack, count: number, sent: Sent): Promise<void> {
  const dice = new Dice(options.seed + 2);
  const AT_ONCE = 20;
  for (let left = count; left > 0; left -= AT_ONCE)
    await Promise.all(
      Array.from({ length: Math.min(left, AT_ONCE) }, async () => {
        sent["not ZeroMQ"]++;
        const bytes = notOurs(dice);
        const [port, patience, reset] = [portOf(options, dice), dice.below(30), dice.chance(0.3)];
        const peer = await Peer.open(port, options.ear);
        await peer.write(bytes);
        await Promise.race([peer.closed, sleep(patience)]);
        if (reset) peer.reset();
        else peer.close();
        await peer.closed;
      }),
    );
}

/**
 * Bytes that come one at a time, and then stop: some of our greetings stop before the mechanism is known, some after
 * it, some at once.
 */
const beginnings = (mechanism: string): readonly Buffer[] => [
  Buffer.alloc(0),
  greeting(mechanism).subarray(0, 8),
  greeting(mechanism).subarray(0, 40),
  // These would pass for ZMTP 1.0, whose handshake is over with the first byte.
  Buffer.from("GET / HTTP/1.1\r\n\r\n"),
  Buffer.from([1, 0, 3, 0, 0x68, 0x69]),
];

/** None of them comes to an end by itself. */
async function slowHandshakes(options: Attack, sent: Sent): Promise<void> {
  const all = beginnings(options.curve === undefined ? "NULL" : "CURVE");
  const until = performance.now() + PATIENCE_MS;
  await Promise.all(
    Array.from({ length: SLOW }, async (_, i) => {
      sent["slow handshakes"]++;
      const peer = await Peer.open(options.ports[i % 2]!, options.ear);
      for (const byte of all[i % all.length]!) {
        if (peer.isClosed) break;
        await peer.write(Buffer.of(byte));
        await sleep(100);
      }
      await Promise.race([peer.closed, sleep(until - performance.now(), undefined, { ref: false })]);
      if (peer.isClosed) sent["slow handshakes that were ended"]++;
      peer.close();
    }),
  );
}

async function tiny(options: Attack, curve: CurveKeys | undefined): Promise<void> {
  if (curve !== undefined) {
    const socket = keyed(curve);
    socket.connect(`tcp://127.0.0.1:${options.ports[0]}`);
    const heard = listen(socket, options.ear);
    await socket.send(Array.from({ length: options.tinyFrames }, () => new Uint8Array(0)));
    await untilRefused(options.ear);
    socket.close();
    return heard;
  }
  const peer = await Peer.open(options.ports[0], options.ear);
  await peer.greet();
  for (const piece of tinyFrames(options.tinyFrames)) await peer.write(piece);
  await untilRefused(options.ear);
  peer.close();
}

async function untilRefused(ear: Ear): Promise<void> {
  const before = ear.refusals;
  for (const until = performance.now() + PATIENCE_MS; ear.refusals === before; await sleep(20))
    if (performance.now() > until) throw new Error("the worker has not answered a message of too many frames");
}

const REFUSED = ["handshake:error:auth", "handshake:error:protocol", "handshake:error:other", "disconnect"] as const;

/**
 * The worker's is right and the client's is none that is let in; the client's is right and the worker's is another;
 * both are random.
 */
async function wrongKeys(options: Attack, keys: CurveKeys, sent: Sent): Promise<void> {
  const stranger = curveKeyPair();
  const pairs: CurveKeys[] = [
    { server: keys.server, public: stranger.publicKey, secret: stranger.secretKey },
    { server: stranger.publicKey, public: keys.public, secret: keys.secret },
    { server: stranger.publicKey, public: stranger.publicKey, secret: stranger.secretKey },
    // It knows the key of one who is let in, but not its secret.
    { server: keys.server, public: keys.public, secret: stranger.secretKey },
  ];
  for (const pair of pairs)
    for (const port of options.ports) {
      sent["wrong keys"]++;
      const socket = keyed(pair);
      const { events } = socket;
      const over = new Promise((resolve) => {
        for (const event of REFUSED) events.on(event, resolve);
      });
      events.on("handshake", () => options.ear.leaks.add("a handshake with wrong keys was accepted"));
      socket.connect(`tcp://127.0.0.1:${port}`);
      const heard = listen(socket, options.ear);
      await over;
      socket.close();
      await heard;
    }
}
