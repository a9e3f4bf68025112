/**
 * The two half floats have 16 bits an element. They are held in a Uint16Array as bits: not every supported Node has a
 * Float16Array.
 */

export interface HalfFloat {
  /**
   * The bits of `values`. Each is rounded to the nearest half float, ties to even; past the largest it is an infinity,
   * and NaN is a NaN. A Float32Array gives the same bits as `tensor.to(torch.float16)`. Plain numbers are rounded once,
   * as NumPy does it.
   */
  from(values: ArrayLike<number>): Uint16Array;
  /** The numbers of `bits`, exactly: every half float is a float32. */
  toFloat32(bits: ArrayLike<number>): Float32Array;
}

/**
 * IEEE 754 binary16: 5 bits of exponent, 10 of fraction; 6e-8 to 65504. `{ dtype: "float16", shape, data:
 * float16.from(values) }`
 */
export const float16: HalfFloat = halfFloat(5);

/**
 * The upper half of a float32: 8 bits of exponent, 7 of fraction.
 * https://pytorch.org/docs/stable/tensor_attributes.html
 */
export const bfloat16: HalfFloat = halfFloat(8);

// A number and its bits. (Every machine that a worker runs on is little-endian.)
const double = new Float64Array(1);
const words = new Uint32Array(double.buffer);

function halfFloat(exponentBits: 5 | 8): HalfFloat {
  const fractionBits = 15 - exponentBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  const infinity = 0x7fff - (2 ** fractionBits - 1);
  const smallestNormal = 2 ** (1 - bias);
  /** In this unit every subnormal is a whole number. */
  const unit = 2 ** (1 - bias - fractionBits);
  const dropped = 20 - fractionBits;
  const half = 2 ** (dropped - 1);

  const bitsOf = (value: number): number => {
    double[0] = value;
    const [low = 0, high = 0] = words;
    const sign = (high >>> 16) & 0x8000;
    const size = Math.abs(value);
    if (size < smallestNormal) return sign | roundHalfToEven(size / unit);
    if (Number.isNaN(value)) return sign | infinity | (1 << (fractionBits - 1));
    const exponent = ((high >>> 20) & 0x7ff) - 1023;
    if (exponent > bias) return sign | infinity;
    const kept = ((exponent + bias) << fractionBits) | ((high & 0xfffff) >>> dropped);
    const rest = high & (2 * half - 1);
    const up = rest > half || (rest === half && (low !== 0 || (kept & 1) === 1));
    // A carry out of the fraction raises the exponent, at last to that of infinity.
    return sign | (kept + (up ? 1 : 0));
  };

  return {
    from(values) {
      const bits = new Uint16Array(values.length);
      for (let i = 0; i < bits.length; i++) bits[i] = bitsOf(values[i]!);
      return bits;
    },
    toFloat32(bits) {
      const numbers = new Float32Array(bits.length);
      const raw = new Uint32Array(numbers.buffer);
      for (let i = 0; i < numbers.length; i++) {
        const sign = bits[i]! & 0x8000;
        const rest = bits[i]! & 0x7fff;
        const fraction = rest << (23 - fractionBits);
        if (rest >= infinity) raw[i] = ((sign << 16) | 0x7f800000 | fraction) >>> 0;
        else if (rest < 1 << fractionBits) numbers[i] = (sign === 0 ? rest : -rest) * unit;
        else raw[i] = ((sign << 16) | (fraction + ((127 - bias) << 23))) >>> 0;
      }
      return numbers;
    },
  };
}

/** For 0 to 2^51: the sum has no bits left for a fraction, and JavaScript rounds all sums to even. */
const roundHalfToEven = (value: number): number => value + 2 ** 52 - 2 ** 52;
