/** Keywords. Each line ends in the one error it must give. */
import { kw, worker } from "../worker.ts";

const torch = worker.import("torch");
const { nn, optim } = torch;
const models = worker.import("torchvision.models");
const x = torch.ones(3);

nn.Conv2d(1, 2, 3, kw({ strid: 2 })); // TS2561 misspelt, with a suggestion
nn.Linear(1, 2, kw({ bias: 1 })); // TS2322 of a wrong type
nn.Linear(kw({ in_features: 1 })); // TS2741 a required one is missing
nn.Linear(1, 2, kw({ out_features: 2 })); // TS2353 a required one that was given by position
torch.zeros(kw({ dtype: torch.int64 }), 3); // TS2345 not last
torch.zeros(3, kw({ dtyp: torch.int64 })); // TS2561 misspelt, after a size
torch.zeros(3, kw({ dtype: "int64" })); // TS2322 a string as a dtype
nn.Linear(1, 2, { bias: false }); // TS2353 a plain object
nn.ReLU(kw({ inplace: true, inplace: false })); // TS1117 twice
models.resnet18(kw({ weights: "DEFALT" })); // TS2820 a misspelt literal, with a suggestion
models.resnet18(kw({ weights: "IMAGENET1K_V2" })); // TS2820 a literal of another model
optim.SGD(kw({ lr: 0.1 })); // TS2741 without its parameters
optim.SGD([x], kw({ lr: "0.1" })); // TS2322 a string as a number
optim.AdamW([x], kw({ decoupled_weight_decay: true })); // TS2353 of another optimiser
nn.CrossEntropyLoss(kw({ reduction: "avg" })); // TS2322 not one of the names
x.to(kw({ devise: "cpu" })); // TS2769 misspelt, of an overloaded method
const options = kw({ bais: false });
nn.Linear(1, 2, options); // TS2345 misspelt, in a variable
kw(3); // TS2345 not an object
