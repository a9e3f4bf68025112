import { kw, py } from "torchwire";
import type { Cases } from "../given.ts";

export const references: Cases = {
  "await forgotten in a template string": ({ torch }) => {
    const loss = torch.ones(1).sum();
    return `loss: ${loss as unknown as string}`; // <-
  },
  "await forgotten in JSON": ({ torch }) => {
    const loss = torch.ones(1).sum();
    return JSON.stringify({ loss }); // <-
  },
  "await forgotten in a comparison": ({ torch }) => {
    const loss: any = torch.ones(1).sum();
    return loss < 0.5; // <-
  },
  "await forgotten in arithmetic": ({ torch }) => {
    const loss: any = torch.ones(1).sum();
    return loss + 1; // <-
  },
  "for … of over a reference": ({ torch }) => {
    const rows: any = torch.ones(3, 2);
    for (const row of rows) void row; // <-
  },
  "spreading a reference": ({ torch }) => {
    const rows: any = torch.ones(3, 2);
    return [...rows]; // <-
  },
  "instanceof with a Python class": ({ nn }) => {
    const layer = nn.Linear(1, 1);
    return layer instanceof nn.Module; // <-
  },
  "in with a reference": ({ nn }) => {
    const layer = nn.Linear(1, 1);
    return "bias" in layer; // <-
  },
  "setting a name that is JavaScript's": ({ nn }) => {
    const layer = nn.Linear(1, 1);
    layer.constructor = 1; // <-
  },
  "deleting an item": ({ worker }) => {
    const items = worker.import("builtins").list(py.tuple(1, 2));
    delete items[0]; // <-
  },
  "freezing a reference": ({ nn }) => Object.freeze(nn.Linear(1, 1)), // <-
  "py.str of what is no reference": () => py.str(3 as never), // <-
  "py.op of two plain values": () => py.op("+", 1, 2), // <-
  "py.int of a fraction": () => py.int(1.5), // <-
  "py.float of text": () => py.float("1" as never), // <-
  "kw not last": ({ nn }) => nn.Linear(kw({ bias: false }), 2, 2), // <-
  "kw of an array": ({ nn }) => nn.Linear(2, 2, kw([false] as never)), // <-
  "a plain object where kw is meant": ({ nn }) => nn.Dropout({ p: 0.5 }), // <-
  "a keyword that does not exist": ({ nn }) => nn.Linear(2, 2, kw({ colour: "red" } as never)), // <-
  "a module that does not exist": ({ worker }) => worker.import("torhc"), // <-
  "a package that is not installed": ({ worker }) => worker.import("cv2"), // <-
  "an attribute that does not exist": ({ torch }) => torch.onees(2), // <-
  "an item that does not exist": ({ worker }) => py.at(worker.import("builtins").dict(), "lr"), // <-
  "an item of a dict, as an attribute": ({ worker }) => worker.import("builtins").dict(kw({ out: 1, aux: 2 }))["out"], // <-
  "a layer of a list, by JavaScript's name": ({ nn }) => nn.ModuleList([nn.Linear(1, 1)]).at(0), // <-
  "an item of a state_dict, as an attribute": ({ nn }) => nn.Linear(1, 1).state_dict()["layers.0.weight"], // <-
  "an index out of range": ({ worker }) => py.at(worker.tensor([1, 2]), 2), // <-
  "shapes that cannot be multiplied": ({ torch }) => torch.matmul(torch.ones(2, 3), torch.ones(2, 3)), // <-
  "a setting that Python refuses": async ({ nn }) => {
    const layer = nn.Linear(1, 1);
    layer.weight = "heavy"; // <-
    await layer.bias;
  },
  "what comes after an error in the same lane": async ({ torch }) => {
    const wrong = torch.matmul(torch.ones(2, 3), torch.ones(2, 3)); // <-
    await wrong.sum();
  },
  "a released reference": ({ torch }) => {
    const x = torch.ones(1);
    x[Symbol.dispose]();
    return torch.add(x, 1); // <-
  },
  "a reference whose scope has ended": ({ worker, torch }) => {
    const out: { x?: any } = {};
    worker.scope(() => void (out.x = torch.ones(1)));
    return torch.add(out.x, 1); // <-
  },
  "a comparison in a recorded function": ({ worker }) => worker.function((x: any) => (x > 0 ? x : 0)), // <-
  "an await in a recorded function": ({ worker }) => worker.function(async (x) => (await x.sum()) as unknown), // <-
  "the length of a placeholder": ({ worker }) => worker.function((x) => py.len(x)), // <-
  "the items of a placeholder": ({ worker }) => worker.function((x: any) => [...x]), // <-
  "a context in a recorded function": ({ worker }) =>
    worker.function((x) => worker.context({ mode: "no_grad" }, () => x.sum())), // <-
  "a JavaScript function in a recorded one": ({ worker, torch }) =>
    worker.function((x) => torch.func.grad((y: unknown) => y)(x)), // <-
  "a placeholder past its function": ({ worker, torch }) => {
    const out: { x?: any } = {};
    worker.function((x) => void (out.x = x));
    return torch.add(out.x, 1); // <-
  },
  "a reference of another worker": ({ other, torch }) => torch.add(other.tensor([1]), 1), // <-
  "an object that Python cannot give back": ({ worker }) => py.js(worker.import("sys")), // <-
  "a tensor with more than one value where one is asked for": ({ torch }) => torch.ones(2).item(), // <-
};
