/**
 * TensorBoard's events as bytes. The field numbers are those of tensorboard/compat/proto/{event,summary,tensor}.proto
 * and hparams/plugin_data.proto.
 */
import type { Ending } from "../training/report.ts";
import type { RunHyperparameters } from "./backend.ts";
import type { Loggable, LoggedAudio, LoggedHistogram, LoggedImage } from "./loggables.ts";
import { bytes, double, float, integer, packed, string, type Field } from "./protobuf.ts";

/** The first event of a file. `time` is in seconds. */
export const fileVersion = (time: number): Uint8Array =>
  Buffer.concat([double(EVENT.wallTime, time), string(EVENT.fileVersion, "brain.Event:2")]);

/** The values of one moment. */
export const event = (time: number, step: number, values: readonly Field[]): Uint8Array =>
  Buffer.concat([double(EVENT.wallTime, time), integer(EVENT.step, step), bytes(EVENT.summary, ...values)]);

/** Says that a run goes on with `step`: readers drop what they have read of that step and of later ones. */
export const purge = (time: number, step: number): Uint8Array =>
  Buffer.concat([double(EVENT.wallTime, time), integer(EVENT.step, step), bytes(EVENT.sessionLog, integer(1, START))]);
/** SessionLog.START in event.proto. */
const START = 1;

const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5, sessionLog: 7 };
const VALUE = { tag: 1, scalar: 2, image: 4, histogram: 5, audio: 6, tensor: 8, metadata: 9 };

/** One value of a summary. */
export function summaryValue(tag: string, loggable: Exclude<Loggable, { kind: "file" }>): Field {
  const { kind } = loggable;
  if (kind === "value") return valueOf(tag, float(VALUE.scalar, loggable.value));
  if (kind === "text") return valueOf(tag, metadata("text", new Uint8Array()), tensorOf(loggable.text));
  if (kind === "image") return valueOf(tag, imageOf(loggable));
  return valueOf(tag, kind === "audio" ? audioOf(loggable) : histogramOf(loggable));
}

const valueOf = (tag: string, ...fields: readonly Field[]): Field => bytes(1, string(VALUE.tag, tag), ...fields);

/** Plugins find their own values by this. */
const metadata = (plugin: string, content: Uint8Array): Field =>
  bytes(VALUE.metadata, bytes(1, string(1, plugin), bytes(2, content)));

/** A tensor of one string. */
const tensorOf = (text: string): Field =>
  bytes(VALUE.tensor, integer(1, DT_STRING), bytes(2, bytes(2, integer(1, 1))), string(8, text));
const DT_STRING = 7;

const imageOf = ({ width, height, channels, png }: LoggedImage): Field =>
  bytes(VALUE.image, integer(1, height), integer(2, width), integer(3, channels), bytes(4, png));

const audioOf = ({ sampleRate, channels, frames, wav }: LoggedAudio): Field =>
  bytes(
    VALUE.audio,
    float(1, sampleRate),
    integer(2, channels),
    integer(3, frames),
    bytes(4, wav),
    string(5, "audio/wav"),
  );

/** TensorBoard's buckets have upper limits only: the first begins at the minimum. */
const histogramOf = ({ edges, counts, sum, sumSquares }: LoggedHistogram): Field =>
  bytes(
    VALUE.histogram,
    double(1, edges[0]!),
    double(2, edges.at(-1)!),
    double(
      3,
      counts.reduce((total, count) => total + count, 0),
    ),
    double(4, sum),
    double(5, sumSquares),
    packed(6, edges.slice(1)),
    packed(7, counts),
  );

/** Says that a run with these settings began. They become the columns of the HParams page. */
export function sessionStart(time: number, hyperparameters: RunHyperparameters): Field {
  // Protocol buffers encode a map as a list of keys and values.
  const entries = Object.entries(hyperparameters).map(([name, value]) =>
    bytes(1, string(1, name), bytes(2, jsonValue(value))),
  );
  return hparams("_hparams_/session_start_info", bytes(3, ...entries, double(5, time)));
}

export function sessionEnd(time: number, { status }: Ending): Field {
  return hparams("_hparams_/session_end_info", bytes(4, integer(1, STATUS[status]), double(2, time)));
}
/** TensorBoard's codes: 0 is unknown, 1 success, 2 failure. */
const STATUS = { interrupted: 0, completed: 1, stopped: 1, failed: 2 } as const satisfies Record<
  Ending["status"],
  number
>;

const hparams = (tag: string, info: Field): Field => valueOf(tag, metadata("hparams", info));

/** A google.protobuf.Value. */
const jsonValue = (value: number | string | boolean): Field =>
  typeof value === "number"
    ? double(2, value)
    : typeof value === "string"
      ? string(3, value)
      : integer(4, Number(value));
