/** Examples that look at pictures, by the losses of plain PyTorch. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { column, Counterparts, printed } from "../fixtures/counterparts.ts";

let counterparts: Counterparts;
beforeAll(async () => {
  counterparts = await Counterparts.start();
});
afterAll(() => counterparts[Symbol.dispose]());

test("distillation: the student knows digits that it has never seen", async () => {
  const { stdout, expected } = await counterparts.run("distillation.ts", "distillation.py", "6000");
  // Three epochs of the teacher, and ten of the student.
  expect(column(stdout, "training", "loss")).toEqual(expected.slice(0, 13).map(printed));
  const known = Number(/the student knows ([\d.]+) %/.exec(stdout)![1]);
  expect(known).toBe(Number((100 * expected[13]!).toFixed(1)));
  // From the labels of those pictures it would be none.
  expect(known).toBeGreaterThan(30);
});
