/** Turns values of the wire into values of JavaScript. */
import { TorchwireError } from "../errors/errors.ts";
import { isUint8Array } from "../runtime/kinds.ts";
import { Tag } from "../wire/codes.ts";
import { defaultLimits, exceeded, type Limits } from "../wire/limits.ts";
import { isCount, malformed } from "../wire/schema.ts";
import { fromBytes, isDType, itemSize, joined, sizeOf, type NDArray } from "./ndarray.ts";

export function decodeValue(
  token: unknown,
  frames: readonly Uint8Array[],
  limits: Limits = defaultLimits,
  depth = 0,
): unknown {
  // A copy, because msgpackr gives a Buffer over the whole message.
  if (isUint8Array(token)) return new Uint8Array(token);
  if (!Array.isArray(token))
    return typeof token === "object" && token !== null ? malformed("a value that is a map, or an extension") : token;
  const [tag, ...rest] = token as [unknown, ...unknown[]];
  const items = (): unknown[] => {
    if (depth >= limits.depth) throw exceeded(`a value that came is nested ${depth + 1} deep`, "depth", limits);
    return rest.map((item) => decodeValue(item, frames, limits, depth + 1));
  };
  switch (tag) {
    case Tag.list:
    case Tag.tuple:
      return items();
    case Tag.dict:
      return rest.length % 2 === 0 ? decodeDict(items()) : malformed("a dict with half of a pair");
    case Tag.tensor:
      return decodeTensor(rest, frames);
    case Tag.bigint: {
      const [hex] = rest;
      if (typeof hex !== "string" || !/^-?[\da-f]+$/.test(hex)) return malformed("an integer that is none");
      return hex.startsWith("-") ? -BigInt(`0x${hex.slice(1)}`) : BigInt(`0x${hex}`);
    }
    default:
      throw new TorchwireError("PROTOCOL", `the worker sent a value of unknown kind ${String(tag)}`);
  }
}

/** An object where every key is a string, as in JSON; else a Map. */
function decodeDict(flat: readonly unknown[]): unknown {
  const entries: [unknown, unknown][] = [];
  for (let i = 0; i < flat.length; i += 2) entries.push([flat[i], flat[i + 1]]);
  return entries.every(([key]) => typeof key === "string")
    ? Object.fromEntries(entries as [string, unknown][])
    : new Map(entries);
}

function decodeTensor([index, dtype, shape, count = 1]: readonly unknown[], frames: readonly Uint8Array[]): NDArray {
  const pieces = frames.slice(index as number, (index as number) + (count as number));
  const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (
    !isCount(index) ||
    !isCount(count) ||
    count === 0 ||
    pieces.length !== count ||
    !isDType(dtype) ||
    !Array.isArray(shape) ||
    !shape.every(isCount) ||
    bytes !== sizeOf(shape) * itemSize(dtype)
  )
    throw new TorchwireError("PROTOCOL", "the worker sent a tensor whose description does not fit its bytes");
  try {
    return count === 1 ? fromBytes(dtype, shape, pieces[0]!) : joined(dtype, shape, pieces);
  } catch (cause) {
    throw new TorchwireError(
      "LIMIT",
      `an array of ${dtype} [${shape.join(", ")}] is more than one of this runtime can hold, or than there is memory for; fetch it in parts`,
      { cause },
    );
  }
}
