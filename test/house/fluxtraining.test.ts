/** The table of names mentions only existing names. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { Learner, Worker } from "torchwire";
import { entries, typesOf } from "../entries.ts";

const text = (path: string): string => readFileSync(new URL(path, import.meta.url), "utf8");

test("every name of ours in docs/fluxtraining.md is exported, or a method of what is", () => {
  const rows = text("../../docs/fluxtraining.md")
    .split("\n")
    .filter((line) => line.startsWith("| `"));
  expect(rows.length).toBeGreaterThan(30);
  const exported = new Set(
    Object.entries(entries).flatMap(([path, entry]) => [...Object.keys(entry), ...typesOf(path)]),
  );
  const missing: string[] = [];
  for (const row of rows)
    for (const [, name] of row.split(" | ")[1]!.matchAll(/`([^`]+)`/g)) {
      const [owner, member] = name!.split(".") as [string, string | undefined];
      if (member === undefined ? !exported.has(owner) : !isMember(owner, member)) missing.push(name!);
    }
  expect(missing).toEqual([]);
});

function isMember(owner: string, member: string): boolean {
  if (owner === "worker") return member in Worker.prototype;
  return (
    member in Learner.prototype || new RegExp(`^  (readonly )?${member}\\b`, "m").test(text("../../client/learner.ts"))
  );
}
