/** Text from outside as messages have it. */
import { inspect } from "node:util";
import { expect, test } from "vitest";
import { TorchwireError } from "torchwire";
import { progressOn } from "../../../bridge/environment/progress.ts";
import { PythonError } from "../../../bridge/errors/python-error.ts";
import { oneLine, printable, quoted, shownValue } from "../../../bridge/errors/shown.ts";

const hostile = "a\x1b[31mb\x07\x9bc\x7f\u202ed\u2028e\ud800f😀\tg\r\nh\ri";
const lines = "a\\x1b[31mb\\x07\\x9bc\\x7f\\u202ed\\u2028e\\ud800f😀\tg\nh\\ri";

test("control characters are written as escapes, newlines and tabs only where a text is on one line", () => {
  expect(printable(hostile)).toBe(lines);
  expect(oneLine(hostile)).toBe(lines.replace("\t", "\\t").replace("\nh", "\\r\\nh"));
  expect(quoted('say "\\n"\n')).toBe('"say \\"\\\\n\\"\\n"');
  expect(oneLine("x".repeat(201))).toBe(`${"x".repeat(200)}… (201 characters)`);
  expect(quoted("x".repeat(10), 4)).toBe('"xxxx…" (10 characters)');
});

test("of a value no more is looked at than is shown", () => {
  const deep = JSON.parse(`${"[".repeat(5000)}${"]".repeat(5000)}`) as unknown;
  expect(shownValue([1, "\x1b", null, {}, deep])).toBe('[1,"\\x1b",null,an object,a list]');
  expect(shownValue(Array.from({ length: 1e6 }, () => 1)).length).toBeLessThan(100);
  expect(shownValue(undefined)).toBe("undefined");
});

test("every error of torchwire's can be printed; Python's own text is a field, as it came", () => {
  expect(new TorchwireError("BAD_DATA", hostile).message).toBe(lines);
  const frame = { file: "\x1b[1m.py", line: 1, name: "f\x07", source: "x\x9b" };
  const exception = {
    type: "E\x1b",
    mro: ["E\x1b"],
    message: hostile,
    frames: [frame],
    notes: ["\x1b]0;owned\x07"],
    cause: null,
  };
  const error = new PythonError(exception, "f(...)", undefined);
  expect(error.pyMessage).toBe(hostile);
  // oxlint-disable-next-line no-control-regex
  for (const text of [error.message, error.stack!]) expect(text).not.toMatch(/[\0-\x08\x0b-\x1f\x7f-\x9f]/);
  expect(inspect(error).split("pyMessage")[0]).toContain("E\\x1b: a\\x1b[31mb");
});

test("so can what an installer says", () => {
  const said: string[] = [];
  const output = { isTTY: false, write: (text: string) => said.push(text) };
  progressOn(output, {}).line("\x1b[31mred");
  progressOn({ ...output, isTTY: true, columns: 80 }, {}).line("\x1b[31mred");
  expect(said).toEqual(["\\x1b[31mred\n", "\\x1b[31mred\n"]);
});
