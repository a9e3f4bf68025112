/** The history of every step is an array to those who read it. */
import { inspect } from "node:util";
import { array as arrays, assert, constant, double, nat, oneof, property, record, tuple } from "fast-check";
import { describe, expect, test } from "vitest";
import type { MetricValue } from "torchwire/callbacks";
import { readOnly } from "../../../client/callback/read-only.ts";
import { series } from "../../../client/metrics/series.ts";

const values = (length: number): MetricValue[] =>
  Array.from({ length }, (_, i) => ({ at: i + 1, value: Math.sin(i) / 3 }));

function seriesOf(items: readonly MetricValue[]): MetricValue[] {
  const made = series();
  for (const item of items) made.push(item);
  return made;
}

describe.each([0, 1, 511, 512, 513, 1500])("of %i steps", (length) => {
  const array = values(length);
  const made = seriesOf(array);

  test("it reads as an array does", () => {
    expect(made).toEqual(array);
    expect(Array.isArray(made)).toBe(true);
    expect(made).toHaveLength(length);
    expect(made[length]).toBeUndefined();
    expect(made.at(-1)).toEqual(array.at(-1));
    expect([...made]).toEqual(array);
    expect(Object.entries(made)).toEqual(Object.entries(array));
    expect(Object.keys(made)).toEqual(Object.keys(array));
    expect(JSON.stringify(made)).toBe(JSON.stringify(array));
    expect(inspect(made)).toBe(inspect(array));
    expect(made.map(({ value }) => value)).toEqual(array.map(({ value }) => value));
    expect(made.slice(-3)).toEqual(array.slice(-3));
    expect(made.findLast(({ at }) => at % 7 === 0)).toEqual(array.findLast(({ at }) => at % 7 === 0));
    expect(0 in made).toBe(length > 0);
    expect(length in made).toBe(false);
  });

  test("through a view that may only read as well, which may not add", () => {
    const view = readOnly(made, "Reader", "learner.state.metricsStep") as MetricValue[];
    expect(view).toEqual(array);
    expect(view.at(-1)).toEqual(array.at(-1));
    expect(() => view.push({ at: 1, value: 1 })).toThrow("read only for callback Reader");
    expect(() => view.splice(0, 0, { at: 1, value: 1 })).toThrow("read only for callback Reader");
    expect(() => view.unshift({ at: 1, value: 1 })).toThrow("read only for callback Reader");
    expect(() => (view.length = 0)).toThrow("read only for callback Reader");
    expect(made).toHaveLength(length);
  });
});

test("what is not a number is kept as it is", () => {
  const odd = [Number.NaN, Infinity, -0, 5e-324].map((value, i) => ({ at: i + 0.5, value }));
  expect(seriesOf(odd)).toStrictEqual(odd);
});

test("a value cannot be changed in place, for nobody would see it", () => {
  const [one] = seriesOf(values(1));
  expect(() => ((one as { value: number }).value = 2)).toThrow(TypeError);
});

test("several are put between others, and in front", () => {
  const [first, last, ...more] = values(514);
  for (const put of [
    (on: MetricValue[]) => on.splice(1, 0, ...more),
    (on: MetricValue[]) => on.splice(-1, 1, ...more),
    (on: MetricValue[]) => on.splice(1),
    (on: MetricValue[]) => on.unshift(...more),
  ]) {
    const [array, made] = [[first!, last!], seriesOf([first!, last!])];
    expect(put(made)).toEqual(put(array));
    expect(made).toEqual(array);
  }
});

test("whatever is done with the methods of an array leaves what it leaves in one", () => {
  const item = record({ at: nat(), value: double() });
  const change = oneof(
    arrays(item, { maxLength: 700 }).map((items) => (on: MetricValue[]) => on.push(...items)),
    constant((on: MetricValue[]) => on.pop()),
    constant((on: MetricValue[]) => on.shift()),
    constant((on: MetricValue[]) => on.fill(Object.freeze({ at: 1, value: 2 }), 0, 2)),
    tuple(nat(20), nat(600), arrays(item, { maxLength: 3 })).map(
      ([start, count, items]) =>
        (on: MetricValue[]) =>
          on.splice(start, count, ...items),
    ),
    nat(600).map((length) => (on: MetricValue[]) => (on.length = Math.min(length, on.length))),
    arrays(item, { maxLength: 3 }).map((items) => (on: MetricValue[]) => on.unshift(...items)),
    item.map((one) => (on: MetricValue[]) => void (on[Math.max(0, on.length - 1)] = one)),
  );
  assert(
    property(arrays(change, { maxLength: 12 }), (changes) => {
      const array: MetricValue[] = [];
      const made = series();
      for (const one of changes) expect(one(made)).toEqual(one(array));
      expect(made).toEqual(array);
    }),
    { numRuns: 60 },
  );
});

test("it has no holes", () => {
  const made = seriesOf(values(2));
  expect(() => (made[5] = { at: 1, value: 1 })).toThrow(TypeError);
  expect(() => (made.length = 9)).toThrow(TypeError);
  expect(Reflect.deleteProperty(made, 0)).toBe(false);
  expect(made).toEqual(values(2));
});
