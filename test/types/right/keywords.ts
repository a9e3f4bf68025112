/** Keywords: last, at any place, in a variable, choosing an overload, and given to what has no types. */
import { kw, worker } from "../worker.ts";

const torch = worker.import("torch");
const { nn, optim } = torch;

export function keywords(flag: boolean): void {
  nn.Linear(3, 4);
  nn.Linear(3, 4, kw({ bias: flag }));
  nn.Linear(3, 4, flag, kw({ dtype: torch.float64 }));
  nn.Linear(3, kw({ out_features: 4, bias: false }));
  nn.Linear(kw({ in_features: 3, out_features: 4, device: null }));
  nn.Conv2d(1, kw({ out_channels: 2, kernel_size: 3, padding_mode: "zeros" }));
  nn.BatchNorm2d(8, kw({ eps: 1e-3, momentum: null }));

  const options = kw({ bias: false, device: "cpu" });
  nn.Linear(3, 4, options);
  const another = new nn.Linear(3, 4, options);
  another.eval();
  const learning = kw({ lr: 0.1, nesterov: true });
  optim.SGD([torch.zeros(1)], learning);
  optim.SGD(kw({ params: nn.Linear(1, 1).parameters(), lr: 0.1 }));

  torch.zeros(2, 3, kw({ dtype: torch.float32, requires_grad: flag }));
  torch.zeros([2, 3], kw({ device: torch.device("cuda", 0) }));
  torch
    .ones(2)
    .max(kw({ dim: 0, keepdim: true }))
    .values.sum();
  torch
    .ones(2)
    .sum(kw({ dtype: torch.float64 }))
    .sum(kw({ dim: [0, 1] }));
  // oxlint-disable-next-line unicorn/no-array-sort -- a tensor
  const sorted = torch.ones(2).sort(kw({ stable: true, descending: flag }));
  sorted.indices.tolist();
  torch.inference_mode(kw({ mode: flag }));
  torch.autocast("cuda", kw({ dtype: torch.bfloat16 }));
  torch.compile(nn.Linear(1, 1), kw({ fullgraph: true }));
}
