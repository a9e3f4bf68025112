/**
 * The header of a safetensors file: 8 bytes with its length, then JSON, then the tensors' bytes.
 * https://huggingface.co/docs/safetensors/index#format
 */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { sizeOf } from "../../bridge/values/ndarray.ts";
import { oneLine, quoted, shownValue } from "../../bridge/errors/shown.ts";

/** The format's names of element types, those that fill whole bytes and that PyTorch has, and their sizes in bytes. */
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

/** A tensor in a file; `begin` and `end` are counted from the end of the header. */
export interface TensorPlace extends TensorInfo {
  readonly begin: number;
  readonly end: number;
}

export interface Header {
  /** In the order in which their bytes lie in the file, without a gap. */
  readonly tensors: readonly TensorPlace[];
  readonly metadata: Readonly<Record<string, string>>;
}

/** Bytes of the length that comes before the JSON. */
export const prefixBytes = 8;

/** As the reference implementation has it. */
export const mostHeaderBytes = 100_000_000;

export const byteLengthOf = ({ dtype, shape }: TensorInfo): number => itemSizes[dtype] * sizeOf(shape);

/** No tensor that PyTorch's operations take has more. */
const mostAxes = 64;

/** One for each tensor, and two more. What has some hundreds of thousands of tensors is no model, and takes many seconds to parse. */
const mostObjects = 200_000;

function countOf(sign: number, bytes: Uint8Array): number {
  let found = 0;
  for (let at = bytes.indexOf(sign); at >= 0; at = bytes.indexOf(sign, at + 1)) found++;
  return found;
}

/**
 * Reads and checks the JSON of a header. `dataBytes` is what follows it in the file; `file` is for errors.
 *
 * Throws BAD_DATA, naming file and tensor, unless every tensor has a known dtype, at most 64 plain counts as its shape and as many bytes as both ask for,
 * and the tensors fill the data from its beginning to its end. The worker's reader refuses the same (helpers/safetensors_file.py).
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
    // It is not the cause: it quotes the file as it is.
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
  // Other readers multiply 64 bits.
  if (most >= 2n ** 53n) return refuse(`shape ${shownValue(shape)}: its sizes are past what can be counted to`);
  return { name, dtype: dtype as SafetensorsDType, shape, begin, end };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);

/** The format needs three; no reader takes many more. */
const deepest = 100;

interface Faults {
  readonly structure?: string;
  readonly detail: string | undefined;
}

/**
 * What valid JSON may have and no header. In its structure: a key twice in one object (JSON.parse takes the last one and says nothing), and half a surrogate
 * pair. In detail, the first number that is no plain count (1.0 and -0 are none to other readers), or objects and lists deep within each other.
 */
function faultsOf(json: string): Faults {
  let detail: string | undefined;
  // For each object that is open its keys, for each list nothing.
  const open: (Set<string> | undefined)[] = [];
  let keyComes = false;
  for (let at = 0; at < json.length; at++) {
    const sign = json.charCodeAt(at);
    if (sign === SIGN.quote) {
      const start = at + 1;
      at = json.indexOf('"', start);
      const isPlain = !json.slice(start, at).includes("\\");
      // (A regular expression would recurse into a long string.)
      if (!isPlain)
        for (at = start; json.charCodeAt(at) !== SIGN.quote; at++) if (json.charCodeAt(at) === SIGN.escape) at++;
      if (isPlain && !keyComes) continue;
      const text = isPlain ? json.slice(start, at) : (JSON.parse(json.slice(start - 1, at + 1)) as string);
      if (!isPlain && /\p{Surrogate}/u.test(text)) return { structure: `${quoted(text)}, which is no text`, detail };
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
        detail ??= `the number ${oneLine(json.slice(start, at + 1), 40)}, which is no count`;
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

/** The length and the JSON, padded so that the tensors begin at a multiple of 8, and the number of bytes that must follow. */
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
