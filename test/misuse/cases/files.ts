import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { py } from "torchwire";
import type { Cases, Given } from "../given.ts";

/** A file in the given folder. */
function written({ folder }: Given, name: string, text = ""): string {
  const path = join(folder, name);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, text);
  return path;
}

export const files: Cases = {
  "a Python file that is not there": ({ worker, folder }) => worker.module(`${folder}/my_unet.py`), // <-
  "a Python file without its ending": (given) => {
    const path = written(given, "my_net.py").replace(".py", "");
    return given.worker.module(path); // <-
  },
  "a file that is no Python": (given) => {
    const path = written(given, "weights.txt");
    return given.worker.module(path); // <-
  },
  "a folder that is no package": (given) => {
    const folder = join(written(given, "nets/unet.py"), "..");
    return given.worker.module(folder); // <-
  },
  "a file whose name Python cannot import": (given) => {
    const path = written(given, "my-unet.py");
    return given.worker.module(path); // <-
  },
  "a file with the name of a module of the standard library": (given) => {
    const path = written(given, "shadows/random.py");
    return given.worker.module(path); // <-
  },
  "a file with the name of an installed package": (given) => {
    const path = written(given, "twins/torch.py");
    return given.worker.module(path); // <-
  },
  "an error of syntax in a Python file": async (given) => {
    const path = written(given, "slip/slip.py", "import torch\n\nclass UNet(torch.nn.Module)\n    pass\n");
    await given.worker.module(path)["UNet"]; // <-
  },
  "an error in a Python file as it is imported": async (given) => {
    const path = written(given, "early/early.py", "import torch\n\nwidth = torch.ones(2) @ torch.ones(3)\n");
    await given.worker.module(path)["width"]; // <-
  },
  "an error in a function of a Python file": async (given) => {
    const path = written(given, "late.py", "def scaled(x, by):\n    return x * by[0]\n");
    const { scaled } = given.worker.module(path);
    await scaled(given.torch.ones(1), 2); // <-
  },
  "a Python file that has no such name": async (given) => {
    const path = written(given, "named.py", "class UNet:\n    pass\n");
    await given.worker.module(path)["Unet"]; // <-
  },
  "a Python file that imports what is not there": async (given) => {
    const path = written(given, "lacking.py", "import unet_blocks\n");
    await py.settle(given.worker.module(path)); // <-
  },
  "an option of worker.module that is none": (given) => {
    const path = written(given, "other.py");
    return given.worker.module(path, { reloads: true } as never); // <-
  },
  "a reload that is neither true nor false": (given) => {
    const path = written(given, "another.py");
    return given.worker.module(path, { reload: "always" } as never); // <-
  },
  "Python's source in place of a file": ({ worker }) => worker.module("import torch\nwidth = 2"), // <-
};
