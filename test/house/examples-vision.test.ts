/** Examples that look at pictures, by the losses of plain PyTorch. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { column, Counterparts, printed } from "../fixtures/counterparts.ts";

let counterparts: Counterparts;
beforeAll(async () => {
  counterparts = await Counterparts.start();
});
afterAll(() => counterparts[Symbol.dispose]());

test("unet: a model of files beside the program, with masks that move as their pictures do", async () => {
  const { stdout, expected } = await counterparts.run("unet/main.ts", "unet_masks.py", "600", "4");
  expect(column(stdout, "training", "loss")).toEqual(expected.slice(0, 4).map(printed));
  const [dice, iou] = ["dice", "iou"].map((name) => column(stdout, "validation", name).at(-1)!);
  expect([dice, iou]).toEqual(expected.slice(4).map(printed));
  // Pixels by themselves, at the best threshold, come to 0.71.
  expect(dice).toBeGreaterThan(0.8);
});

test("vision-transformer: each layer at a rate of its own", async () => {
  const { stdout, expected } = await counterparts.run("vision-transformer.ts", "vision_transformer.py", "1500", "3");
  expect(column(stdout, "training", "loss")).toEqual(expected.slice(0, 3).map(printed));
  const accuracy = column(stdout, "validation", "accuracy").at(-1)!;
  expect(accuracy).toBe(printed(expected[3]!));
  // Chance is 0.1.
  expect(accuracy).toBeGreaterThan(0.2);
});

test("distillation: the student knows digits that it has never seen", async () => {
  const { stdout, expected } = await counterparts.run("distillation.ts", "distillation.py", "3000");
  // Three epochs of the teacher, and ten of the student.
  expect(column(stdout, "training", "loss")).toEqual(expected.slice(0, 13).map(printed));
  const known = Number(/the student knows ([\d.]+) %/.exec(stdout)![1]);
  expect(known).toBe(Number((100 * expected[13]!).toFixed(1)));
  // From the labels of those pictures it would be none.
  expect(known).toBeGreaterThan(30);
});
