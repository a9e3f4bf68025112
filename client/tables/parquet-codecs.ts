/** What unpacks the pages of a Parquet file: hyparquet knows snappy, and Node the most of the others. */
import * as zlib from "node:zlib";
import { EnvironmentError } from "../../bridge/errors/errors.ts";
import { messageOf } from "../../bridge/runtime/kinds.ts";

type Codec = (input: Uint8Array, outputLength: number) => Uint8Array;
export type Codecs = Readonly<Record<string, Codec>>;

/** A page says how long it is; a longer one is refused before it takes the memory. */
const limit = (maxOutputLength: number): { maxOutputLength: number } => ({
  maxOutputLength: Math.max(1, maxOutputLength),
});

const zstd = (zlib as { zstdDecompressSync?: (input: Uint8Array, options: object) => Uint8Array }).zstdDecompressSync;

const ofNode: Codecs = {
  GZIP: (input, length) => zlib.gunzipSync(input, limit(length)),
  BROTLI: (input, length) => zlib.brotliDecompressSync(input, limit(length)),
  // Node 20 has none.
  ...(zstd !== undefined && { ZSTD: (input: Uint8Array, length: number) => zstd(input, limit(length)) }),
};

/** Not written into the import: a bundler must not look for a package that most programs do not have. */
const OTHERS: string = "hyparquet-compressors";

/** Codecs for all of `names`. Throws ENVIRONMENT, with the command that installs the rest, where one is missing. */
export async function codecsFor(names: ReadonlySet<string>): Promise<Codecs> {
  const missing = [...names].filter((name) => name !== "UNCOMPRESSED" && name !== "SNAPPY" && !(name in ofNode));
  if (missing.length === 0) return ofNode;
  try {
    const { compressors } = (await import(OTHERS)) as { compressors: Codecs };
    return { ...compressors, ...ofNode };
  } catch (cause) {
    throw new EnvironmentError(
      `the file is compressed by ${missing.join(", ")}, which the package hyparquet-compressors unpacks; it is an optional dependency and cannot be loaded: ${messageOf(cause).split("\n")[0]}`,
      { command: "npm install hyparquet-compressors", cause },
    );
  }
}
