import { lend } from "torchwire/bridge";
import { ones, type Cases } from "../given.ts";

export const values: Cases = {
  "a Date as an argument": ({ torch }) => torch.tensor(new Date(0)), // <-
  "a class as an argument": ({ torch }) => {
    class Layer {
      units = 8;
    }
    return torch.tensor(Layer); // <-
  },
  "a promise as an argument": ({ torch }) => torch.tensor(Promise.resolve(1)), // <-
  "an object of a class of one's own": ({ torch }) => {
    class Settings {
      lr = 1;
    }
    return torch.tensor(new Settings()); // <-
  },
  "a list that contains itself": ({ torch }) => {
    const list: unknown[] = [];
    list.push(list);
    return torch.tensor(list); // <-
  },
  "half of a surrogate pair": ({ worker }) => worker.import("builtins").len("\ud800"), // <-
  "a dtype that does not exist": ({ worker }) => worker.tensor({ ...ones(2), dtype: "float31" as never }), // <-
  "a dtype that is not the array's": ({ worker }) => worker.tensor(ones(2), { dtype: "int64" }), // <-
  "a shape that does not fit the data": ({ worker }) => worker.tensor({ ...ones(6), shape: [2, 4] }), // <-
  "a shape with a fraction": ({ worker }) => worker.tensor({ ...ones(6), shape: [1.5, 4] }), // <-
  "data of the wrong typed array": ({ worker }) => {
    const data = new Float64Array(2) as never;
    return worker.tensor({ dtype: "float32", shape: [2], data }); // <-
  },
  "nested numbers of unequal lengths": ({ worker }) => worker.tensor([[1, 2], [3]]), // <-
  "more dimensions than the limit": ({ worker }) => {
    const shape = Array.from({ length: 65 }, () => 1);
    return worker.tensor(ones(...shape)); // <-
  },
  "more arrays than the limit in one operation": ({ torch }) => {
    const arrays = Array.from({ length: 300 }, () => ones(1));
    return torch.stack(arrays); // <-
  },
  "lending a part of an array's memory": () => {
    const data = new Float32Array(4).subarray(1);
    return lend({ dtype: "float32", shape: [3], data }); // <-
  },
  "lending shared memory": () => {
    const data = new Uint8Array(new SharedArrayBuffer(4));
    return lend({ dtype: "uint8", shape: [4], data }); // <-
  },
  "a context in an unknown mode": async ({ worker }) => await worker.context({ mode: "eval" as never }, () => 1), // <-
  "a context whose eval is no array": ({ worker, nn }) => {
    const model = nn.Linear(1, 1);
    return worker.context({ eval: model as never }, () => 1); // <-
  },
  "a context of what is no module": async ({ worker }) => await worker.context({ eval: [3] }, () => 1), // <-
};
