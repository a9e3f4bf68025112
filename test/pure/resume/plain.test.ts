/** Values as the text of a checkpoint, and back. */
import { expect, test } from "vitest";
import { fromPlain, toPlain } from "../../../client/resume/plain.ts";

const back = (value: unknown): unknown => fromPlain(JSON.parse(JSON.stringify(toPlain(value, "it"))) as never);

/** A value of a history, and how often it was read. */
function looked(at: number): { readonly item: object; readonly reads: () => number } {
  let reads = 0;
  const item = Object.freeze({
    get at() {
      reads++;
      return at;
    },
  });
  return { item, reads: () => reads };
}

test("a history is frozen again, and what was not frozen is not", () => {
  const [frozen, free] = back([Object.freeze({ at: 1, value: -0 }), { at: 2 }]) as [object, object];
  expect([frozen, free]).toEqual([{ at: 1, value: -0 }, { at: 2 }]);
  expect([Object.isFrozen(frozen), Object.isFrozen(free)]).toEqual([true, false]);
});

test("the items of a history are made plain once, however often it is saved", () => {
  const old = looked(1);
  const history = [old.item];
  back(history);
  const reads = old.reads();
  for (let at = 2; at < 5; at++) {
    history.push(Object.freeze({ at }));
    expect(back(history)).toEqual(Array.from({ length: at }, (_, i) => ({ at: i + 1 })));
  }
  expect(old.reads()).toBe(reads);
});

test("a history that was changed is saved as it is", () => {
  const history: object[] = [1, 2, 3].map((at) => Object.freeze({ at }));
  const saved = toPlain(history, "it");
  history[1] = Object.freeze({ at: 20 });
  expect(back(history)).toEqual([{ at: 1 }, { at: 20 }, { at: 3 }]);
  history.length = 1;
  expect(back(history)).toEqual([{ at: 1 }]);
  const free = { at: 5 };
  history.push(free);
  back(history);
  free.at = 6;
  expect(back(history)).toEqual([{ at: 1 }, { at: 6 }]);
  // It stays as it was when it was taken.
  expect(fromPlain(JSON.parse(JSON.stringify(saved)) as never)).toEqual([{ at: 1 }, { at: 2 }, { at: 3 }]);
});
