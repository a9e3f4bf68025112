/** The loop of the first example, and the networks of the parity tests. */
import { kw, worker } from "../worker.ts";

const torch = worker.import("torch");
const torchvision = worker.import("torchvision");
const { nn, optim } = torch;
const F = nn.functional;

export async function mnist(images: Uint8Array, labels: Uint8Array): Promise<number[]> {
  const device = (await torch.cuda.is_available()) ? "cuda" : "cpu";
  const model = torchvision.models.resnet18(kw({ weights: "DEFAULT", progress: false }));
  model.fc = nn.Linear(model.fc.in_features, 10);
  model.to(device).train();
  const optimizer = optim.SGD(model.parameters(), kw({ lr: 0.1, momentum: 0.9, weight_decay: 5e-4 }));

  const losses = [];
  for (let step = 0; step < 100; step += 1) {
    const xs = torch.tensor({ dtype: "uint8", shape: [64, 28, 28, 1], data: images });
    const ys = torch.tensor(labels, kw({ dtype: torch.int64, device }));
    const scaled = xs.to(device).permute(0, 3, 1, 2).float().div_(255).sub_(0.1307).div_(0.3081);
    const logits = model(scaled.expand(-1, 3, -1, -1).contiguous(kw({ memory_format: torch.channels_last })));
    const loss = F.cross_entropy(logits, ys, kw({ label_smoothing: 0.1 }));
    optimizer.zero_grad(kw({ set_to_none: true }));
    loss.backward();
    optimizer.step();
    losses.push(loss.detach());
  }
  torch.save(model.state_dict(), "weights.pt");
  model.load_state_dict(torch.load("weights.pt", kw({ weights_only: true })), false);
  return Promise.all(losses.map((loss) => loss.item()));
}

export async function accuracy(): Promise<number> {
  const model = torchvision.models.resnet50(kw({ weights: "IMAGENET1K_V2", num_classes: 1000 })).eval();
  const xs = torch.randn(8, 3, 224, 224, kw({ device: "cpu" }));
  const ys = torch.randint(0, 1000, [8]);
  const correct = model(xs).argmax(1).eq(ys).sum();
  const { values, indices } = model(xs).softmax(-1).max(1);
  values.mean();
  indices.ne(ys);
  if ((await correct.item()) > 4) return 1;
  return (await correct.item()) / 8;
}

export function cnn(): unknown {
  const model = nn.Sequential(
    nn.Conv2d(3, 16, 3, kw({ padding: 1, bias: false })),
    nn.BatchNorm2d(16),
    nn.ReLU(kw({ inplace: true })),
    nn.MaxPool2d(2),
    new nn.Conv2d(16, 32, [3, 3], 1, "same"),
    new nn.ReLU(),
    nn.AdaptiveAvgPool2d([1, 1]),
    nn.Flatten(),
    nn.Dropout(0.5),
    nn.Linear(32, 10, false),
  );
  const adam = optim.Adam(model.parameters(), 1e-3, [0.9, 0.999]);
  const groups = optim.AdamW(
    [{ params: model[0].parameters(), lr: 1e-2 }, { params: [torch.zeros(3, kw({ requires_grad: true }))] }],
    kw({ lr: 1e-3, betas: [0.9, 0.99] }),
  );
  const loss = nn.CrossEntropyLoss(kw({ reduction: "sum" }));
  const xs = torch.rand([2, 3, 32, 32]);
  // The last layer of the Sequential says what the model gives: a tensor.
  loss(model(xs), model(xs).argmax(1)).backward();
  nn.MSELoss()(model(xs), kw({ target: F.one_hot(torch.tensor([1, 2]), 10).float() })).backward();
  adam.step();
  groups.zero_grad();
  return model.state_dict();
}
