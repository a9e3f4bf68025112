/** Two ports in front of a served worker's, behind a line that is slow and long. */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

export interface Line {
  readonly bitsPerSecond: number;
  /** There and back. */
  readonly roundTripMs: number;
}

/** The most that a socket is read ahead of the line. */
const AHEAD_MS = 100;

/** Each direction carries one piece after the other, for all connections, and gives each half a round trip later. */
export class SlowLink implements AsyncDisposable {
  readonly #servers: readonly Server[];
  readonly #sockets = new Set<Socket>();
  readonly #line: Line;
  /** When each direction is free. */
  readonly #free = { up: 0, down: 0 };

  private constructor(servers: readonly Server[], workerPort: number, line: Line) {
    this.#servers = servers;
    this.#line = line;
    for (const [i, server] of servers.entries())
      server.on("connection", (client: Socket) => this.#accept(client, workerPort + i));
  }

  /** `workerPort` is that of the worker's data on 127.0.0.1; its control is on the next. */
  static async open(workerPort: number, line: Line): Promise<SlowLink> {
    for (;;) {
      const servers = [createServer({ noDelay: true }), createServer({ noDelay: true })] as const;
      const link = new SlowLink(servers, workerPort, line);
      try {
        await once(servers[0].listen(0, "127.0.0.1"), "listening");
        await once(servers[1].listen(link.#port + 1, "127.0.0.1"), "listening");
        return link;
      } catch {
        // Somebody has that port.
        servers[0].close();
      }
    }
  }

  get address(): string {
    return `tcp://127.0.0.1:${this.#port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(
      this.#servers.map(async (server) => {
        server.close();
        await once(server, "close");
      }),
    );
  }

  get #port(): number {
    return (this.#servers[0]!.address() as { port: number }).port;
  }

  #accept(client: Socket, port: number): void {
    const worker = connect({ host: "127.0.0.1", port, noDelay: true });
    this.#carry(client, worker, "up");
    this.#carry(worker, client, "down");
  }

  #carry(from: Socket, to: Socket, direction: "up" | "down"): void {
    const { bitsPerSecond, roundTripMs } = this.#line;
    this.#sockets.add(from);
    from.on("data", (piece: Buffer) => {
      const now = performance.now();
      const free = Math.max(now, this.#free[direction]) + (8000 * piece.length) / bitsPerSecond;
      this.#free[direction] = free;
      setTimeout(() => to.writable && to.write(piece), free - now + roundTripMs / 2);
      if (free - now < AHEAD_MS) return;
      from.pause();
      setTimeout(() => from.resume(), free - now - AHEAD_MS / 2);
    });
    from.on("error", () => undefined);
    from.on("close", () => {
      this.#sockets.delete(from);
      setTimeout(() => to.destroySoon(), Math.max(0, this.#free[direction] - performance.now()) + roundTripMs);
    });
  }
}
