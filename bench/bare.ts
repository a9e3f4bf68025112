/** A bare link: a Dealer of zeromq.js, and bench/programs/bare.py behind it. */
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { Context, Dealer } from "zeromq";
import type { Streamed } from "./stream.ts";

export class BareLink {
  readonly pid: number;
  readonly #socket: Dealer;
  readonly #end: () => Promise<void>;

  private constructor(pid: number, socket: Dealer, end: () => Promise<void>) {
    this.pid = pid;
    this.#socket = socket;
    this.#end = end;
  }

  /** "echo" answers each message with itself, "sink" with an empty one, and "ring" as programs/bare.py says. */
  static async open(python: string, kind: "echo" | "sink" | "ring"): Promise<BareLink> {
    const script = fileURLToPath(new URL("programs/bare.py", import.meta.url));
    // A process group of its own survives Ctrl-C, which would kill it before it has removed its socket. The end of its
    // input stops it cleanly.
    const child = execa(python, [script, kind], { detached: true, cleanup: false });
    // Callers hear of a failure when they wait for its line, or its end.
    child.catch(() => undefined);
    const { value, done } = await child.iterable().next();
    if (done) throw new Error(`${script} ended without an address`);
    const context = new Context({ blocky: false });
    const socket = new Dealer({ context, linger: 0, sendHighWaterMark: 0, receiveHighWaterMark: 0 });
    socket.connect(value);
    return new BareLink(child.pid!, socket, async () => {
      socket.close();
      child.stdin.end();
      await child;
    });
  }

  async ask(message: Uint8Array): Promise<void> {
    await this.#socket.send(message);
    await this.#socket.receive();
  }

  /** Sends messages for `seconds`, `window` of them unanswered, then waits for the last answers. */
  async stream(seconds: number, window: number, message: () => Uint8Array): Promise<Streamed> {
    const socket = this.#socket;
    let sent = 0;
    let answered = 0;
    const start = performance.now();
    const end = start + 1000 * seconds;
    do {
      await socket.send(message());
      sent++;
      if (sent - answered >= window) {
        await socket.receive();
        answered++;
      }
    } while (performance.now() < end);
    for (; answered < sent; answered++) await socket.receive();
    return { count: sent, seconds: (performance.now() - start) / 1000 };
  }

  close(): Promise<void> {
    return this.#end();
  }
}
