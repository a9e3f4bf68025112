/** The mutants are kept true: a mutant whose line has moved would show nothing, and nobody runs all of them each day. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { mutants } from "../../mutants/mutants.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));

test("each mutant changes what stands in its file once, and has a title of its own and a test", () => {
  const wrong = mutants.filter(({ file, from, to, test }) => {
    const source = join(root, file);
    const places = existsSync(source) ? readFileSync(source, "utf8").split(from).length - 1 : 0;
    return places !== 1 || from === to || !existsSync(join(root, test.file));
  });
  expect(wrong.map(({ title }) => title)).toEqual([]);
  const titles = mutants.map(({ title }) => title);
  expect(titles.filter((title, i) => titles.indexOf(title) !== i)).toEqual([]);
});
