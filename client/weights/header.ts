/**
 * The header of a safetensors file: 8 bytes with its length, then JSON, then the tensors' bytes.
 * https://huggingface.co/docs/safetensors/index#format
 */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { sizeOf } from "../../bridge/values/ndarray.ts";
import { oneLine, quoted, shownValue } from "../../bridge/errors/shown.ts";

/**
 * The format's names of element types, and their sizes in bytes: those types that fill whole bytes and that PyTorch
 * has.
 */
const itemSizes = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
  C64: 8,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E4M3FNUZ: 1,
  F8_E5M2FNUZ: 1,
} as const;
export type SafetensorsDType = keyof typeof itemSizes;

export interface TensorInfo {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
}

/** A tensor in a file. `begin` and `end` count from the end of the header. */
export interface TensorPlace extends TensorInfo {
  readonly begin: number;
  readonly end: number;
}

export interface Header {
  /** In the order of their bytes in the file, which has no gaps. */
  readonly tensors: readonly TensorPlace[];
  readonly metadata: Readonly<Record<string, string>>;
}

/** The bytes of the header's length, which come before the JSON. */
export const prefixBytes = 8;

/** The reference implementation's limit. */
export const mostHeaderBytes = 100_000_000;

export const byteLengthOf = ({ dtype, shape }: TensorInfo): number => itemSizes[dtype] * sizeOf(shape);

/** PyTorch's operations take no tensor with more axes. */
const mostAxes = 64;

/**
 * One object for each tensor, and two more. A file with hundreds of thousands of tensors is not a model, and takes many
 * seconds to parse.
 */
const mostObjects = 200_000;

function countOf(sign: number, bytes: Uint8Array): number {
  let found = 0;
  for (let at = bytes.indexOf(sign); at >= 0; at = bytes.indexOf(sign, at + 1)) found++;
  return found;
}

/**
 * Reads and checks the JSON of a header. `dataBytes` bytes follow it in the file. Errors name `file`.
 *
 * Throws BAD_DATA, naming file and tensor, unless each tensor has a known dtype, a shape of at most 64 plain counts,
 * and the number of bytes that both need, and unless the tensors fill the data from its beginning to its end. The
 * worker's reader refuses the same files (helpers/safetensors_file.py).
 */
export function parseHeader(json: Uint8Array, dataBytes: number, file: string): Header {
  const refuse = (what: string): never => {
    throw new TorchwireError("BAD_DATA", `${file}: ${what}`);
  };
  if (json[0] !== 0x7b) refuse(`not a safetensors file: its header does not begin with "{"`);
  const objects = countOf(0x7b, json);
  if (objects > mostObjects) refuse(`its header has ${objects} objects; ${mostObjects} are possible`);
  let text: string;
  let content: Record<string, unknown>;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json);
    content = JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    // The error is not the cause: it quotes the file as it is.
    return refuse(`its header is not JSON: ${oneLine((error as Error).message)}`);
  }
  const faults = faultsOf(text);
  if (faults.structure !== undefined) refuse(`its header has ${faults.structure}`);

  const { __metadata__: metadata = {}, ...described } = content;
  if (!isRecord(metadata)) return refuse(`__metadata__ is not an object`);
  for (const [key, value] of Object.entries(metadata))
    if (typeof value !== "string") refuse(`__metadata__ has ${quoted(key)}, which is not a string`);

  const tensors = Object.entries(described)
    .map(([name, info]) => parseTensor(name, info, (what) => refuse(`tensor ${quoted(name)}: ${what}`)))
    .toSorted((a, b) => a.begin - b.begin || a.end - b.end);
  if (faults.detail !== undefined) refuse(`its header has ${faults.detail}`);
  let end = 0;
  for (const tensor of tensors) {
    if (tensor.begin !== end)
      refuse(
        `tensor ${quoted(tensor.name)}: it begins at ${tensor.begin}, ${tensor.begin < end ? "inside another one" : "after a gap"}; the one before it ends at ${end}`,
      );
    end = tensor.end;
  }
  if (end !== dataBytes)
    refuse(
      `${end > dataBytes ? "it is cut short" : "it holds more than its header says"}: its tensors take ${end} bytes, found ${dataBytes}`,
    );
  return { tensors, metadata: metadata as Record<string, string> };
}

function parseTensor(name: string, info: unknown, refuse: (what: string) => never): TensorPlace {
  if (!isRecord(info)) return refuse("its description is not an object");
  const { dtype, shape, data_offsets: offsets } = info;
  if (typeof dtype !== "string" || !Object.hasOwn(itemSizes, dtype))
    return refuse(`dtype ${shownValue(dtype)} is unknown; known are ${Object.keys(itemSizes).join(", ")}`);
  if (Array.isArray(shape) && shape.length > mostAxes)
    return refuse(`its shape has ${shape.length} axes; ${mostAxes} are possible`);
  if (!isCounts(shape)) return refuse(`shape ${shownValue(shape)} is not a list of whole numbers`);
  if (!isCounts(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]!)
    return refuse(`data_offsets ${shownValue(offsets)} are not a beginning and an end`);
  const [begin, end] = offsets as [number, number];
  let bytes = BigInt(itemSizes[dtype as SafetensorsDType]);
  let most = bytes;
  for (const n of shape) {
    bytes *= BigInt(n);
    if (bytes > most) most = bytes;
  }
  if (bytes !== BigInt(end - begin))
    return refuse(`${dtype} of shape ${shownValue(shape)} takes ${bytes} bytes, its data_offsets have ${end - begin}`);
  // Other readers multiply in 64 bits.
  if (most >= 2n ** 53n) return refuse(`shape ${shownValue(shape)}: its sizes are too large to count`);
  return { name, dtype: dtype as SafetensorsDType, shape, begin, end };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);

/** The format needs three levels; no reader takes many more. */
const deepest = 100;

interface Faults {
  readonly structure?: string;
  readonly detail: string | undefined;
}

/**
 * Finds faults that valid JSON may have and a header may not. In its structure: a key twice in one object (JSON.parse
 * silently takes the last one), and half a surrogate pair. In detail: the first number that is not a plain count (other
 * readers refuse 1.0 and -0), and objects or lists nested too deep.
 */
function faultsOf(json: string): Faults {
  let detail: string | undefined;
  // The keys of each open object; undefined for each open list.
  const open: (Set<string> | undefined)[] = [];
  let keyComes = false;
  for (let at = 0; at < json.length; at++) {
    const sign = json.charCodeAt(at);
    if (sign === SIGN.quote) {
      const start = at + 1;
      at = json.indexOf('"', start);
      const isPlain = !json.slice(start, at).includes("\\");
      // A regular expression would recurse into a long string.
      if (!isPlain)
        for (at = start; json.charCodeAt(at) !== SIGN.quote; at++) if (json.charCodeAt(at) === SIGN.escape) at++;
      if (isPlain && !keyComes) continue;
      const text = isPlain ? json.slice(start, at) : (JSON.parse(json.slice(start - 1, at + 1)) as string);
      if (!isPlain && /\p{Surrogate}/u.test(text))
        return { structure: `${quoted(text)}, which is not valid text`, detail };
      if (keyComes) {
        if (open.at(-1)!.has(text)) return { structure: `${quoted(text)} twice`, detail };
        open.at(-1)!.add(text);
      }
      keyComes = false;
    } else if (sign === SIGN.comma) keyComes = open.at(-1) !== undefined;
    else if (sign === SIGN.openObject || sign === SIGN.openList) {
      keyComes = sign === SIGN.openObject;
      open.push(keyComes ? new Set() : undefined);
      if (open.length > deepest) detail ??= `more than ${deepest} lists and objects within each other`;
    } else if (sign === SIGN.closeObject || sign === SIGN.closeList) {
      open.pop();
      keyComes = false;
    } else if (sign === SIGN.minus || (sign >= SIGN.zero && sign <= SIGN.nine)) {
      const start = at;
      while (isOfNumber(json.charCodeAt(at + 1))) at++;
      const length = at + 1 - start;
      if (length > 16 || !/^\d+$/.test(json.slice(start, at + 1)))
        detail ??= `the number ${oneLine(json.slice(start, at + 1), 40)}, which is not a plain count`;
    }
  }
  return { detail };
}

const SIGN = {
  quote: 0x22,
  comma: 0x2c,
  minus: 0x2d,
  zero: 0x30,
  nine: 0x39,
  openList: 0x5b,
  escape: 0x5c,
  closeList: 0x5d,
  openObject: 0x7b,
  closeObject: 0x7d,
} as const;

/** A digit, or one of "+-.eE". */
const isOfNumber = (sign: number): boolean =>
  (sign >= SIGN.zero && sign <= SIGN.nine) ||
  (sign >= 0x2b && sign <= 0x2e && sign !== SIGN.comma) ||
  (sign | 0x20) === 0x65;

/**
 * Builds the length and the JSON, padded so that the tensors begin at a multiple of 8, and counts the bytes that must
 * follow.
 */
export function buildHeader(
  tensors: readonly TensorInfo[],
  metadata: Readonly<Record<string, string>>,
): { bytes: Uint8Array; dataBytes: number } {
  const names = new Set(tensors.map(({ name }) => name));
  if (names.size < tensors.length || names.has("__metadata__"))
    throw new TorchwireError(
      "MISUSE",
      "safetensors: every tensor needs a name of its own, and none may be called __metadata__",
    );
  for (const [key, value] of Object.entries(metadata))
    if (typeof value !== "string")
      throw new TorchwireError("MISUSE", `safetensors: metadata.${key} is not a string; write JSON.stringify(…) there`);
  let dataBytes = 0;
  const entries = tensors.map((tensor) => {
    const begin = dataBytes;
    dataBytes += byteLengthOf(tensor);
    return [tensor.name, { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [begin, dataBytes] }] as const;
  });
  const head = Object.keys(metadata).length > 0 ? [["__metadata__", metadata] as const] : [];
  // Joined by hand: an object would put names that look like numbers first, and lose one called __proto__.
  const json = `{${[...head, ...entries].map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(",")}}`;
  const length = Buffer.byteLength(json);
  const padded = Math.ceil(length / 8) * 8;
  if (padded > mostHeaderBytes)
    throw new TorchwireError(
      "MISUSE",
      `safetensors: the header would have ${padded} bytes, ${mostHeaderBytes} are possible`,
    );
  const bytes = Buffer.alloc(prefixBytes + padded, " ");
  bytes.writeBigUInt64LE(BigInt(padded), 0);
  bytes.write(json, prefixBytes);
  return { bytes, dataBytes };
}
