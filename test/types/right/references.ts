/** The exact types that awaiting, reading, setting, indexing and iterating give. */
import { kw, same, worker } from "../worker.ts";
import type { PyInt, PyStr, Ref } from "../worker.ts";
import type { Linear } from "../../../bridge/types/nn.ts";
import type { Parameter, Tensor } from "../../../bridge/types/tensor.ts";

const torch = worker.import("torch");
const nn = worker.import("torch.nn");
const models = worker.import("torchvision.models");

export async function awaiting(x: Ref<Tensor>): Promise<Tensor> {
  const item = await x.item();
  same<number, typeof item>(true);
  const settled = await x;
  same<Tensor, typeof settled>(true);
  const bool = await torch.cuda.is_available();
  same<boolean, typeof bool>(true);
  const text = await torch.cuda.get_device_name(0);
  same<string, typeof text>(true);
  const none = await x.sum().backward();
  same<null, typeof none>(true);
  const grad = await x.grad;
  same<Tensor | null, typeof grad>(true);
  if (grad !== null) grad.norm().item();
  const bias = await nn.Linear(1, 1).bias;
  same<Parameter | null, typeof bias>(true);
  const momentum = await nn.BatchNorm2d(1).momentum;
  same<number | null, typeof momentum>(true);
  const both = await Promise.all([x.item(), x.dim(), x.is_cuda]);
  same<[number, number, boolean], typeof both>(true);
  const layer = await nn.Linear(1, 1);
  same<Linear, typeof layer>(true);
  // Settled references are references still.
  same<Ref<Tensor>, ReturnType<typeof settled.sum>>(true);
  return x;
}

export async function scopes(x: Ref<Tensor>): Promise<void> {
  const item = await worker.scope(() => x.item());
  same<number, typeof item>(true);
  const made = worker.scope(() => ({ total: x.sum(), all: [x] }));
  same<{ total: Ref<Tensor>; all: Ref<Tensor>[] }, typeof made>(true);
  const later = worker.scope(async () => [x.sum()]);
  same<Promise<Ref<Tensor>[]>, typeof later>(true);
  const settled = await worker.scope(async () => x.sum());
  same<Tensor, typeof settled>(true);
  const inLane = await worker.lane(() => worker.scope(() => x.item()));
  same<number, typeof inLane>(true);
  const inContext = await worker.context({ mode: "no_grad" }, () => ({ total: x.sum() }));
  same<{ total: Ref<Tensor> }, typeof inContext>(true);
}

export async function shapes(x: Ref<Tensor>): Promise<void> {
  same<PyInt, (typeof x.shape)[0]>(true);
  const batch: number = await x.shape[0];
  const last: number = await x.shape[-1];
  const { 0: a, 1: b } = x.max(0);
  a.sum().add(b.sum());
  x[0].add_(batch);
  x[-1] = torch.zeros(last);
  x[0] = 1;
  const { 0: input, 1: target } = x.split(2);
  input?.eq(target!);
}

export async function iterating(model: Ref<Linear>): Promise<void> {
  for await (const parameter of model.parameters()) {
    same<Parameter, typeof parameter>(true);
    parameter.requires_grad = false;
    parameter.grad = null;
  }
  for await (const { 0: name, 1: parameter } of model.named_parameters(kw({ prefix: "net" }))) {
    same<PyStr, typeof name>(true);
    same<Ref<Parameter>, typeof parameter>(true);
  }
  for await (const child of model.children()) child.anything.at.all(1).train();
  for await (const key of model.state_dict()) key.toUpperCase();
}

export function setting(): void {
  const model = models.resnet34();
  const old = model.fc;
  model.fc = nn.Linear(model.fc.in_features, 10);
  model.fc = new nn.Linear(old.in_features, 10, kw({ bias: false }));
  model.conv1 = nn.Conv2d(1, 64, 7, 2, 3, kw({ bias: false }));
  model.fc = nn.Sequential(nn.Dropout(), nn.Linear(512, 10));
  old.in_features = 3;
  old.bias = null;
  same<typeof model, ReturnType<typeof model.eval>>(true);
  model.eval().cpu().requires_grad_(false).to(torch.float64).to("cuda", torch.float16);
  model.layer1[0].conv1.weight.sum();
  using once = torch.zeros(1);
  once.fill_(2);
}

export function numbers(x: Ref<Tensor>, n: PyInt): void {
  // A Python number is an argument before anybody knows its value.
  torch
    .zeros(n, x.size(0), x.shape[1])
    .reshape([n, -1])
    .mul(x.item())
    .clamp(kw({ min: n }));
  torch.tensor(
    [
      [1, 2],
      [3, x.item()],
    ],
    kw({ dtype: torch.float32 }),
  );
  torch.tensor(new Float32Array(3));
  torch.as_tensor({ dtype: "int64", shape: [2], data: new BigInt64Array(2) });
  torch
    .tensor(3n)
    .to(kw({ dtype: torch.int64 }))
    .to(x)
    .type_as(x);
  torch
    .stack([x, x], 1)
    .sum([0, 1], true)
    .mean(kw({ dim: 0 }))
    .std(0, kw({ correction: 0 }));
  torch
    .cat([x, x], kw({ dim: 1 }))
    .view(torch.int32)
    .view(4, -1)
    .view([4, -1]);
  torch
    .arange(3)
    .eq(torch.arange(0, 3))
    .eq(torch.arange(0, 3, 1, kw({ dtype: torch.int64 })));
  torch.randint(10, [3], kw({ generator: torch.Generator("cpu").manual_seed(0) })).max(x);
}
