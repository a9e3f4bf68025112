/** Python values that JavaScript has no literal for. */

/** A float, even where the number is whole: `py.float(1)` is 1.0. */
export class PyFloatLiteral {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

export class PyTupleLiteral {
  readonly items: readonly unknown[];
  constructor(items: readonly unknown[]) {
    this.items = items;
  }
}

export class PyBytesLiteral {
  readonly bytes: Uint8Array;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

export class PySliceLiteral {
  readonly start: unknown;
  readonly stop: unknown;
  readonly step: unknown;
  constructor(start: unknown, stop: unknown, step: unknown) {
    this.start = start;
    this.stop = stop;
    this.step = step;
  }
}
