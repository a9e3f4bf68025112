/** Arguments by position. Each line ends in the one error it must give. */
import { worker } from "../worker.ts";

const torch = worker.import("torch");
const { nn, optim } = torch;
const F = nn.functional;
const model = worker.import("torchvision.models").resnet18();
const optimizer = optim.SGD(model.parameters());
const x = torch.ones(3);

nn.Linear(3); // TS2345 one too few
nn.Linear(3, 4, true, "cpu", torch.float32, 5); // TS2554 one too many
nn.Linear("3", 4); // TS2345 a string as a number
nn.Conv2d(); // TS2554 none
nn.ReLU(x); // TS2345 a tensor as a boolean
model.fc(model); // TS2345 a module as a tensor
model(optimizer); // TS2345 an optimiser as a tensor
F.cross_entropy(x, model); // TS2345 a module as a target
F.cross_entropy(x); // TS2345 without a target
optim.SGD(model); // TS2345 a module as its parameters
optim.lr_scheduler(model).step(optimizer + 1); // TS2365 an optimiser in arithmetic
torch.stack(x); // TS2345 one tensor as several
torch.zeros("3"); // TS2345 a string as a size
torch.zeros(2, [3]); // TS2345 an array after a number
nn.Sequential(nn.ReLU(), x); // TS2345 a tensor as a module
nn.Sequential(nn.Linear); // TS2345 a class as a module
x.permute("0"); // TS2345 a string as a dimension
x.argmax(1.5, 2); // TS2345 a number as a boolean
torch.tensor("abc"); // TS2345 a string as data
torch.tensor(new Map()); // TS2345 a map as data
torch.tensor({ dtype: "float128", shape: [1], data: new Float32Array(1) }); // TS2345 a dtype that arrays do not have
torch.from_numpy(x); // TS2345 a tensor as an array
model.to(model); // TS2769 a module as a device
model.load_state_dict(x); // TS2345 a tensor as a dict
torch.manual_seed("0"); // TS2345 a string as a seed
worker.import(3); // TS2345 a module that is not named by a string
