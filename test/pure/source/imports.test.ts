import { expect, test } from "vitest";
import { importsIn } from "../../../bridge/source/imports.ts";

test.for<[string, string, [string, ...string[]][]]>([
  ["one module", "import blocks", [["blocks"]]],
  ["several", "import a, b.c as d ,e # f", [["a"], ["b.c"], ["e"]]],
  ["names of a module", "from a.b import c, d as e", [["a.b", "c", "d"]]],
  ["names in parentheses", "from a import (\n    b, # not c\n    d,\n)\nimport e", [["a", "b", "d"], ["e"]]],
  ["every name", "from a import *", [["a"]]],
  ["a line that goes on", "from a \\\n  import b\r\nimport \\\r\n  c", [["a", "b"], ["c"]]],
  ["inside of a block", "try:\n\timport a\nexcept ImportError: import b; import c", [["a"], ["b"], ["c"]]],
  ["names that are not ASCII", "import größe", [["größe"]]],
  ["no relative import", "from . import a\nfrom .b import c\nfrom.d import e", []],
  ["no other word", "important = 1\nfrom_ = 2\nx.import_module('a')\n# import b", []],
])("finds %s", ([, source, expected]) => {
  expect(importsIn(source).map(({ module, names }) => [module.join("."), ...names])).toEqual(expected);
});
