/** Decodes the images in a column of rows. */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { oneLine } from "../../bridge/errors/shown.ts";
import { isPlainObject, isUint8Array, isURL, messageOf } from "../../bridge/runtime/kinds.ts";
import type { NDArray } from "../../bridge/values/ndarray.ts";
import { digest } from "../tables/bytes.ts";
import { after, placeOf, type RowSource } from "../tables/source.ts";
import { decode, type ImageShape, type ImageSource } from "./decode.ts";
import { shownPath } from "./image-files.ts";

/** The same rows with the images in `column` decoded. Paths begin in `root`. */
export function withImage(
  source: RowSource<unknown>,
  column: string,
  root: string,
  shape: ImageShape,
): RowSource<Readonly<Record<string, unknown>>> {
  return {
    length: source.length,
    columns: source.columns,
    features: source.features,
    folder: source.folder,
    fingerprint: () => digest("image", source.fingerprint(), column, root, shape),
    get: (index) =>
      after(source.get(index), async (row) => {
        try {
          return { ...(row as object), [column]: await decoded(row, column, root, shape) };
        } catch (cause) {
          if (!(cause instanceof TorchwireError) || cause.code !== "BAD_DATA") throw cause;
          const where = `${shownPath(await placeOf(source, index))}, ${oneLine(column)}`;
          throw new TorchwireError("BAD_DATA", `${where}: ${messageOf(cause)}`, { cause });
        }
      }),
    place: (index) => placeOf(source, index),
    ...(source.only !== undefined && {
      only: (columns) => {
        const part = source.only!(columns);
        return columns.includes(column) ? withImage(part, column, root, shape) : part;
      },
    }),
  };
}

function decoded(row: unknown, column: string, root: string, shape: ImageShape): Promise<NDArray> {
  if (!isPlainObject(row) || !Object.hasOwn(row, column))
    throw new TorchwireError("BAD_DATA", "the row has no such column");
  const { source, name } = sourceOf(row[column], root);
  return decode(source, shape, name);
}

function sourceOf(value: unknown, root: string): { source: ImageSource; name: string } {
  if (isUint8Array(value)) return { source: value, name: `(${value.length} bytes)` };
  if (typeof value === "string" && value !== "") return at(value, root);
  if (isURL(value)) return at(fileURLToPath(value), root);
  // As `datasets` keeps an image: its bytes, or else the path of its file.
  if (isPlainObject(value) && ("bytes" in value || "path" in value)) {
    const { bytes, path } = value;
    if (isUint8Array(bytes))
      return { source: bytes, name: typeof path === "string" ? path : `(${bytes.length} bytes)` };
    if (typeof path === "string" && path !== "") return at(path, root);
  }
  const found = value === null || value === undefined ? String(value) : `a ${typeof value}`;
  throw new TorchwireError("BAD_DATA", `an image is its file's bytes, a path, or { bytes, path }, not ${found}`);
}

function at(path: string, root: string): { source: string; name: string } {
  const whole = resolve(root, path);
  return { source: whole, name: whole };
}
