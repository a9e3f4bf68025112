/** References that TypeScript knows nothing about: modules without types, and undeclared names of torch. */
import { kw, same, worker } from "../worker.ts";
import type { AnyRef } from "../worker.ts";

const torch = worker.import("torch");
const numpy = worker.import("numpy");
const transforms = worker.import("torchvision").transforms;

export async function untyped(): Promise<unknown> {
  same<AnyRef, typeof numpy>(true);
  const array = numpy.array([1, 2, 3], kw({ dtype: numpy.float32 }));
  const total: number = await array.sum();
  array.shape = [3, 1];
  numpy.random.seed(0);
  // Every parameter that asks for a reference takes one, and no other.
  const x = torch.from_numpy(array).add(array).matmul(numpy).to(numpy);
  torch.nn.functional.cross_entropy(numpy, x);
  torch.optim.Adam(numpy).step();
  torch.zeros(numpy, 3);
  const { 0: first, 1: second } = numpy;
  first.second = second;
  for await (const row of numpy) row.sum();
  const pipeline = transforms.v2.Compose([transforms.v2.ToDtype(torch.float32, kw({ scale: true }))]);
  pipeline(x).mean();

  // Names of torch that nobody has declared can be used; Python tells of misspelt ones.
  same<any, typeof torch.linalg>(true);
  const scheduler = torch.optim.lr_scheduler.OneCycleLR(torch.optim.RMSprop(numpy), kw({ max_lr: 0.1 }));
  scheduler.step();
  x.erf().cosh();
  new torch.nn.GELU()(x).mean();
  torch.nn.functional.interpolate(x, kw({ scale_factor: 2 })).sum();
  const lstm = torch.nn.LSTM(3, 4);
  lstm.flatten_parameters();
  const opened = torch.nn.Linear(1, 1) as unknown as AnyRef;
  opened.my_own_attribute = total;
  return array.tolist();
}
