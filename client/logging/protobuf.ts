/**
 * Writes protocol buffers: https://protobuf.dev/programming-guides/encoding. A message is its fields, one after the
 * other.
 */

export type Field = Uint8Array;

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/** An int32, int64, bool or enum, from 0 to 2^53 - 1. */
export const integer = (field: number, value: number): Field => Buffer.concat([key(field, VARINT), varint(value)]);

export const double = (field: number, value: number): Field => Buffer.concat([key(field, FIXED64), doubles([value])]);

export function float(field: number, value: number): Field {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([key(field, FIXED32), bytes]);
}

/** Bytes, or a message within a message. */
export const bytes = (field: number, ...parts: readonly Uint8Array[]): Field => {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([key(field, BYTES), varint(length), ...parts]);
};

export const string = (field: number, value: string): Field => bytes(field, Buffer.from(value));

/** `repeated double`, packed. */
export const packed = (field: number, values: readonly number[]): Field => bytes(field, doubles(values));

const key = (field: number, type: number): Uint8Array => varint(field * 8 + type);

function varint(value: number): Uint8Array {
  const out: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 0x80)) out.push((rest % 0x80) | 0x80);
  out.push(rest);
  return Uint8Array.from(out);
}

function doubles(values: readonly number[]): Uint8Array {
  const out = Buffer.alloc(8 * values.length);
  for (const [i, value] of values.entries()) out.writeDoubleLE(value, 8 * i);
  return out;
}
