/** Files of NumPy's, .npy, written row by row. */
import { open, type FileHandle } from "node:fs/promises";
import type { DType, NDArray } from "../../bridge/values/ndarray.ts";

/** NumPy's name of each dtype; bfloat16 has none. */
const DESCR: { readonly [dtype in DType]?: string } = {
  bool: "|b1",
  uint8: "|u1",
  int8: "|i1",
  int16: "<i2",
  int32: "<i4",
  int64: "<i8",
  float16: "<f2",
  float32: "<f4",
  float64: "<f8",
  complex64: "<c8",
};

export const hasNpy = (dtype: DType): boolean => DESCR[dtype] !== undefined;

/** The bytes before the rows. The number of rows is known when all are written, so the header has room for any. */
const HEADER = 192;

export class NpyFile {
  readonly dtype: DType;
  /** The shape of one row. */
  readonly row: readonly number[];
  rows = 0;
  readonly #file: FileHandle;

  private constructor(file: FileHandle, { dtype, shape }: NDArray) {
    this.#file = file;
    this.dtype = dtype;
    this.row = shape.slice(1);
  }

  /** A file of rows like those of `like`, without any yet. */
  static async create(path: string, like: NDArray): Promise<NpyFile> {
    const file = await open(path, "w");
    await file.write(new Uint8Array(HEADER));
    return new NpyFile(file, like);
  }

  isLike({ dtype, shape }: NDArray): boolean {
    return dtype === this.dtype && String(shape.slice(1)) === String(this.row);
  }

  async add(array: NDArray): Promise<void> {
    const { buffer, byteOffset, byteLength } = array.data;
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    for (let at = 0; at < bytes.length;) at += (await this.#file.write(bytes, at)).bytesWritten;
    this.rows += array.shape[0]!;
  }

  /** Writes the header, and closes the file. */
  async end(): Promise<void> {
    const shape = [this.rows, ...this.row];
    const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
    const text = `{'descr': '${DESCR[this.dtype]}', 'fortran_order': False, 'shape': ${tuple}, }`;
    const header = Buffer.alloc(HEADER, " ");
    header.write("\x93NUMPY\x01\x00", "latin1");
    header.writeUInt16LE(HEADER - 10, 8);
    header.write(text, 10, "latin1");
    header.write("\n", HEADER - 1);
    await this.#file.write(header, 0, HEADER, 0);
    await this.close();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
