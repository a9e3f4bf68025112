/** A stranger's connection, and an ear for what it is told. */
import { connect, type Socket } from "node:net";
import { homedir } from "node:os";
import { fileURLToPath } from "node:url";
import { greeting, ready } from "./zmtp.ts";

/** Text that no stranger may read: traces of errors, paths of files, and these secrets. */
export class Ear {
  /** Bytes that came. */
  bytes = 0;
  /** Messages that refuse. */
  refusals = 0;
  readonly leaks: Set<string> = new Set();
  readonly #forbidden: readonly (readonly [string, Buffer])[];

  constructor(secrets: Readonly<Record<string, string>> = {}) {
    const words = {
      "a traceback": "Traceback",
      "a Python file": ".py",
      "a folder": fileURLToPath(new URL("../..", import.meta.url)),
      "a home": `${homedir()}/`,
      "a welcome": WELCOME,
      ...secrets,
    };
    this.#forbidden = Object.entries(words).map(([name, text]) => [name, Buffer.from(text, "latin1")]);
  }

  /**
   * `last` is what came before on this connection: a word may be cut in two. Returns the rest that the next call needs.
   */
  hear(piece: Buffer, last: Buffer): Buffer {
    this.bytes += piece.length;
    const all = Buffer.concat([last, piece]);
    for (const [name, word] of this.#forbidden)
      if (all.includes(word)) this.leaks.add(`${name}: ${excerpt(all, word)}`);
    for (let at = all.indexOf(FATAL); at >= 0; at = all.indexOf(FATAL, at + 1))
      if (at + FATAL.length > last.length) this.refusals++;
    return all.subarray(Math.max(0, all.length - OVERLAP));
  }
}

/** The first five bytes of a message of these types. */
const WELCOME = "TW\x01\x00\x02";
const FATAL = Buffer.from("TW\x01\x00\x0a", "latin1");
const OVERLAP = 80;

const excerpt = (all: Buffer, word: Buffer): string => {
  const at = all.indexOf(word);
  return all.toString("latin1", Math.max(0, at - 60), at + 200);
};

export class Peer {
  readonly socket: Socket;
  /** The worker ended it, or an error did. */
  readonly closed: Promise<unknown>;
  isClosed = false;

  #bytes = 0;

  private constructor(socket: Socket, ear: Ear) {
    this.socket = socket;
    let last: Buffer = Buffer.alloc(0);
    socket.on("data", (piece: Buffer) => {
      this.#bytes += piece.length;
      last = ear.hear(piece, last);
    });
    socket.on("error", () => undefined);
    this.closed = new Promise<void>((resolve) => {
      socket.once("close", () => {
        this.isClosed = true;
        resolve();
      });
    });
  }

  /** Connected, or closed at once. */
  static async open(port: number, ear: Ear): Promise<Peer> {
    const socket = connect({ host: "127.0.0.1", port, noDelay: true });
    const peer = new Peer(socket, ear);
    await Promise.race([new Promise((resolve) => socket.once("connect", resolve)), peer.closed]);
    return peer;
  }

  /** Makes a connection without keys. (All at once, libzmq ends one in four of them.) */
  async greet(): Promise<void> {
    await this.write(greeting());
    await this.#heard(64);
    await this.write(ready);
    await this.#heard(65);
  }

  /** Waits where the worker reads more slowly than we write. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.isClosed || this.socket.write(bytes)) return;
    const drained = new Promise((resolve) => this.socket.once("drain", resolve));
    await Promise.race([drained, this.closed]);
  }

  /** Until so many bytes have come. */
  async #heard(bytes: number): Promise<void> {
    while (this.#bytes < bytes && !this.isClosed) {
      const more = new Promise((resolve) => this.socket.once("data", resolve));
      await Promise.race([more, this.closed]);
    }
  }

  close(): void {
    this.socket.destroy();
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }
}
