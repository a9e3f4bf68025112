/** Advice on a module that the worker's Python has not. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, onTestFinished, test, vi } from "vitest";
import { PythonError } from "../../../bridge/errors/python-error.ts";
import { clean, fresh } from "../../scratch.ts";

afterAll(clean);

const MANAGED = "it is not in the environment that torchwire made";
const IMAGE = "it is not in the container's image";

function advice(name: string, ...notes: string[]): string {
  const type = "ModuleNotFoundError";
  const exception = { type, mro: [type], message: `No module named '${name}'`, frames: [], notes, cause: null };
  return new PythonError(exception, `import ${name}`, undefined).message.split("\n").at(-1)!;
}

test("in torchwire's own environment it is the command, with the package's name", () => {
  expect(advice("torch_geometric", MANAGED)).toBe(
    "Is its name right? If so, npx torchwire add torch-geometric installs it, for this project (with --ssh HOST where the worker is on another machine).",
  );
  const packages = { sklearn: "scikit-learn", PIL: "pillow", cv2: "opencv-python-headless", yaml: "pyyaml" };
  for (const [module, name] of Object.entries(packages))
    expect(advice(module, MANAGED)).toMatch(new RegExp(`^npx torchwire add ${name} installs it, `));
  expect(advice("google.protobuf", MANAGED)).toMatch(/^npx torchwire add protobuf installs/);
});

test("in a container it is the build argument, and in an environment of the user's own the package alone", () => {
  expect(advice("sklearn", IMAGE)).toBe(
    "It is built into the container's image by its argument PACKAGES: --build-arg PACKAGES=scikit-learn (docs/container.md).",
  );
  expect(advice("sklearn")).toBe(
    `Install scikit-learn into the worker's Python, whose folder is worker.import("sys").prefix.`,
  );
});

test("of a slip of the pen, or of a part of a package that is there, it names nothing to install", () => {
  expect(advice("torhc", "there is a module named torch", MANAGED)).toBe("Is its name right?");
  expect(advice("torch.nnn", MANAGED)).toBe("Is its name right?");
  expect(advice("constructor", MANAGED)).toContain("npx torchwire add constructor ");
});

test("a Python file of the program's own, in the current folder or beside the program, is named with what sends it", async () => {
  const folder = await fresh("app");
  mkdirSync(folder);
  writeFileSync(join(folder, "my_unet.py"), "");
  mkdirSync(join(folder, "nets"));
  mkdirSync(join(folder, "photos"));
  writeFileSync(join(folder, "nets", "blocks.py"), "");
  const { argv } = process;
  onTestFinished(() => {
    process.argv = argv;
    vi.restoreAllMocks();
  });
  process.argv = ["node", join(folder, "train.js")];
  const package_ = "Else: Is its name right? If so, npx torchwire add my-unet installs it, ";
  const elsewhere = advice("my_unet", MANAGED);
  expect(elsewhere).toContain(
    `If ${join(folder, "my_unet.py")} is meant, worker.module(new URL("./my_unet.py", import.meta.url)) sends it to the worker, and imports it there. ${package_}`,
  );
  vi.spyOn(process, "cwd").mockReturnValue(folder);
  expect(advice("my_unet", MANAGED)).toContain(`is meant, worker.module("./my_unet.py") sends it`);
  expect(advice("nets.blocks")).toBe(
    `If ${join(folder, "nets")} is meant, worker.module("./nets") sends it to the worker, and imports it there.`,
  );
  expect(advice("photos", MANAGED)).toBe(
    "Is its name right? If so, npx torchwire add photos installs it, for this project (with --ssh HOST where the worker is on another machine).",
  );
});
