/**
 * The header of a safetensors file: 8 bytes with its length, then JSON, then the tensors' bytes.
 * https://huggingface.co/docs/safetensors/index#format
 */
import { TorchwireError } from "../../bridge/errors.ts";
import { sizeOf } from "../../bridge/ndarray.ts";

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

/**
 * Reads and checks the JSON of a header. `dataBytes` is what follows it in the file; `file` is for errors.
 *
 * Throws BAD_DATA, naming file and tensor, unless every tensor has a known dtype, whole numbers as its shape and as many bytes as both ask for, and
 * the tensors fill the data from its beginning to its end.
 */
export function parseHeader(json: Uint8Array, dataBytes: number, file: string): Header {
  const refuse = (what: string, cause?: unknown): never => {
    throw new TorchwireError("BAD_DATA", `${file}: ${what}`, { cause });
  };
  if (json[0] !== 0x7b) refuse(`not a safetensors file: its header does not begin with "{"`);
  let text: string;
  let content: Record<string, unknown>;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json);
    content = JSON.parse(text) as Record<string, unknown>;
  } catch (cause) {
    return refuse(`its header is not JSON: ${(cause as Error).message}`, cause);
  }
  const twice = repeatedKey(text);
  if (twice !== undefined) refuse(`its header has ${JSON.stringify(twice)} twice`);

  const { __metadata__: metadata = {}, ...described } = content;
  if (!isRecord(metadata)) return refuse(`__metadata__ is not an object`);
  for (const [key, value] of Object.entries(metadata))
    if (typeof value !== "string") refuse(`__metadata__ has ${JSON.stringify(key)}, which is not a string`);

  const tensors = Object.entries(described)
    .map(([name, info]) => parseTensor(name, info, (what) => refuse(`tensor ${JSON.stringify(name)}: ${what}`)))
    .toSorted((a, b) => a.begin - b.begin || a.end - b.end);
  let end = 0;
  for (const tensor of tensors) {
    if (tensor.begin !== end)
      refuse(
        `tensor ${JSON.stringify(tensor.name)}: it begins at ${tensor.begin}, ${tensor.begin < end ? "inside another one" : "after a gap"}; the one before it ends at ${end}`,
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
    return refuse(`dtype ${JSON.stringify(dtype)} is unknown; known are ${Object.keys(itemSizes).join(", ")}`);
  if (!isCounts(shape)) return refuse(`shape ${JSON.stringify(shape)} is not a list of whole numbers`);
  if (!isCounts(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]!)
    return refuse(`data_offsets ${JSON.stringify(offsets)} are not a beginning and an end`);
  const size = itemSizes[dtype as SafetensorsDType];
  // Many dimensions: the product is exact only as a bigint.
  const bytes = shape.reduce((product, n) => product * BigInt(n), BigInt(size));
  const [begin, end] = offsets as [number, number];
  if (bytes !== BigInt(end - begin))
    return refuse(`${dtype} of shape [${shape.join(", ")}] takes ${bytes} bytes, its data_offsets have ${end - begin}`);
  // Adding 0 makes a 0 of -0.
  return { name, dtype: dtype as SafetensorsDType, shape: shape.map((n) => n + 0), begin: begin + 0, end: end + 0 };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);

/** The first key that some object of `json`, which is valid, has twice: JSON.parse takes the last one and says nothing. */
function repeatedKey(json: string): string | undefined {
  // For each object that is open its keys, for each list nothing.
  const open: (Set<string> | undefined)[] = [];
  let keyComes = false;
  for (let at = 0; at < json.length; at++) {
    const sign = json[at];
    if (sign === "{") open.push(new Set());
    else if (sign === "[") open.push(undefined);
    else if (sign === "}" || sign === "]") open.pop();
    else if (sign === '"') {
      const start = at;
      // (A regular expression would recurse into a long string.)
      for (at++; json[at] !== '"'; at++) if (json[at] === "\\") at++;
      if (keyComes) {
        const key = JSON.parse(json.slice(start, at + 1)) as string;
        if (open.at(-1)!.has(key)) return key;
        open.at(-1)!.add(key);
      }
    } else if (sign !== ",") continue;
    keyComes = (sign === "{" || sign === ",") && open.at(-1) !== undefined;
  }
  return undefined;
}

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
