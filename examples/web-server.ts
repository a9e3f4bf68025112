/**
 * A web server with a model that learns digits. It predicts while it trains, tells its progress to whoever listens, and
 * can be cancelled, saved and reloaded. It needs the packages fastify and sharp.
 *
 *     npx tsx --conditions=torchwire-source examples/web-server.ts [training images, 6000 by default] [port, 8080] [file] [heartbeat, 15 s]
 *
 *     curl -N localhost:8080/events &                        # progress, by server-sent events
 *     curl localhost:8080/fit --json '{ "epochs": 20 }'
 *     curl localhost:8080/predict -H "Content-Type: image/png" --data-binary @seven.png
 *     curl -X POST localhost:8080/cancel                     # and so /save and /reload: weights in `file`
 */
import { once } from "node:events";
import { PassThrough } from "node:stream";
import { pipeline } from "node:stream/promises";
import fastify from "fastify";
import {
  accuracy,
  adamW,
  crossEntropy,
  DataLoader,
  image,
  kw,
  Learner,
  Metrics,
  mnist,
  spawnWorker,
  TorchwireError,
} from "torchwire";
import type { Report, TrainEvent } from "torchwire";
import { readImages } from "torchwire/data";
import { readDigits } from "./digits.ts";

const training = await readDigits("training", Number(process.argv[2] ?? 6000));
const port = Number(process.argv[3] ?? 8080);
const file = process.argv[4] ?? "web-server.safetensors";
const heartbeat = Number(process.argv[5] ?? 15);

await using worker = await spawnWorker({ seed: 0 });
const { nn } = worker.import("torch");
const model = nn.Sequential(
  nn.Conv2d(3, 16, 3, kw({ stride: 2 })),
  nn.BatchNorm2d(16),
  nn.ReLU(),
  nn.Conv2d(16, 32, 3, kw({ stride: 2 })),
  nn.ReLU(),
  nn.Flatten(),
  nn.Dropout(0.25),
  nn.Linear(32 * 6 * 6, 10),
);
const learner = new Learner(model, crossEntropy(), {
  data: {
    training: new DataLoader(training, { batchSize: 32, shuffle: true }),
    validation: new DataLoader(await readDigits("test", 500), { batchSize: 250 }),
  },
  input: image({ ...mnist, channels: 3 }),
  optimizer: adamW(),
  callbacks: [new Metrics(accuracy)],
});

/** The fit under way, and what ends it. */
let fit: { readonly ended: Promise<Report>; readonly ending: AbortController } | undefined;
/** Each ends the stream of one listener. */
const listeners = new Set<AbortController>();

const app = fastify({ logger: { level: "warn" } });

/** How a request fails, by the error's code. All else is 500. */
const statuses: { readonly [code: string]: number } = { BAD_DATA: 400, BUSY: 409, CLOSED: 503, WORKER_GONE: 503 };
app.setErrorHandler((error: Error & { statusCode?: number }, _, reply) =>
  reply
    .code((error instanceof TorchwireError ? statuses[error.code] : error.statusCode) ?? 500)
    .send({ error: error.message }),
);

app.get("/health", async (_, reply) => {
  const { state } = await worker.liveness();
  return reply
    .code(state === "gone" ? 503 : 200)
    .send({ worker: state, isTraining: fit !== undefined, listeners: listeners.size });
});

const refuseDuringFit = (): void => {
  if (fit !== undefined) throw new TorchwireError("BUSY", "a fit is under way: cancel it, or wait for its end");
};

const epochs = { type: "integer", minimum: 1, maximum: 1000 };
app.post<{ Body: { readonly epochs: number } }>(
  "/fit",
  { schema: { body: { type: "object", required: ["epochs"], properties: { epochs } } } },
  async ({ body }, reply) => {
    refuseDuringFit();
    const ending = new AbortController();
    const ended = learner.fit(body.epochs, { signal: ending.signal }).finally(() => (fit = undefined));
    ended.catch((error: unknown) => app.log.error(error));
    fit = { ended, ending };
    return reply.code(202).send({ epochs: body.epochs });
  },
);

app.post("/cancel", async () => {
  if (fit === undefined) throw new TorchwireError("BUSY", "there is no fit to cancel");
  fit.ending.abort("cancelled by a client");
  const { status, reason, epochs, steps } = await fit.ended;
  return { status, reason, epochs, steps };
});

/** Server-sent events. A listener that reads too slowly holds up nobody: it misses some, and is told how many. */
app.get("/events", (_, reply) => {
  const listener = new AbortController();
  listeners.add(listener);
  const stream = new PassThrough();
  const timer = setInterval(() => stream.writableNeedDrain || stream.write(": still here\n\n"), 1000 * heartbeat);
  stream.once("close", () => {
    clearInterval(timer);
    listeners.delete(listener);
    listener.abort();
  });
  async function* lines(events: AsyncIterable<TrainEvent>) {
    yield `event: hello\ndata: ${JSON.stringify({ isTraining: fit !== undefined })}\n\n`;
    for await (const event of events) yield `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
  }
  // It rejects where the listener leaves.
  pipeline(learner.events({ signal: listener.signal }), lines, stream).catch(() => undefined);
  // The connection ends with the stream: a server that closes waits for those that are kept.
  return reply
    .headers({ "Content-Type": "text/event-stream", "Cache-Control": "no-cache", Connection: "close" })
    .send(stream);
});

/** Requests are joined where they have the same format. */
const grey = image(mnist);
app.register(async (pictures) => {
  // Nothing else is a picture; a text would be the path of a file.
  pictures.removeAllContentTypeParsers();
  pictures.addContentTypeParser(/^image\//, { parseAs: "buffer" }, async (_: unknown, bytes: Buffer) => bytes);
  pictures.post<{ Body: Buffer | undefined }>("/predict", async ({ body = Buffer.alloc(0) }) => {
    const pixels = await readImages([body], { size: 28 });
    const [answer] = await learner.predict(pixels, { input: grey, topK: 3, together: true });
    return answer!.top;
  });
});

app.post("/save", async () => {
  await learner.save(file);
  return { file };
});

app.post("/reload", async () => {
  refuseDuringFit();
  await learner.load(file);
  return { file };
});

console.log(`listening at ${await app.listen({ port })}`);
await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
// No new requests; the fit ends between two steps, listeners hear of it, and then the worker is closed.
const closed = app.close();
fit?.ending.abort("the server ends");
await fit?.ended.catch(() => undefined);
for (const listener of listeners) listener.abort();
// Who does not read what was sent is not waited for.
setTimeout(() => app.server.closeAllConnections(), 2000).unref();
await closed;
