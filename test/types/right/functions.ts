/** Recorded functions: of untyped references, and of typed ones. */
import { same, worker } from "../worker.ts";
import type { AnyRef, PyFloat, PyInt, Ref } from "../worker.ts";
import type { Tensor } from "../../../bridge/types/tensor.ts";

const torch = worker.import("torch");

export async function functions(): Promise<unknown> {
  const untyped = worker.function((x, y) => {
    same<AnyRef, typeof x>(true);
    return x.sub(y);
  });
  same<AnyRef, typeof untyped>(true);
  torch.func.grad(untyped)(1, untyped);
  worker.function(() => {});

  const total = worker.function((x: Ref<Tensor>, n: PyInt) => x.mul(n).sum());
  const sum = total(torch.ones(2), 3);
  same<Ref<Tensor>, typeof sum>(true);
  const settled = await torch.ones(2);
  total(settled, untyped(1)).backward();
  const f = await total;
  f(settled, 1).item();

  const nothing = worker.function((x: Ref<Tensor>) => void x.add_(1));
  const none: null = await nothing(settled);
  const scaled = worker.function((x: PyFloat) => x);
  const number: number = await scaled(0.5);
  torch.nn.Linear(1, 1).apply(worker.function((module) => void module.weight.fill_(0)));
  return [none, number];
}
