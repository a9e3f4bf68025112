/** Some thousand hostile messages on the ports of each kind of worker; `npm run fuzz` sends a million to each. */
import { beforeAll, expect, test } from "vitest";
import { fuzz, MOST_GROWTH, type Report } from "./fuzz.ts";
import { open, targets, type Target } from "./targets.ts";
import { describeOnLinux } from "../only.ts";

describeOnLinux("hostile messages", () => {
  let reports: Readonly<Record<Target, Report>>;
  beforeAll(async () => {
    const attacked = async (name: Target): Promise<[Target, Report]> => {
      await using target = await open(name);
      return [name, await fuzz({ seed: 7, count: 3000, tinyFrames: 100_000, ...target.fuzzed })];
    };
    // Most of the time goes by in waiting for slow handshakes to be ended.
    reports = Object.fromEntries(await Promise.all(targets.map(attacked))) as Record<Target, Report>;
  });

  test.each(targets)("do nothing to a worker that is %s, and nobody is told what is not theirs", (name) => {
    const { lives, leaks, resident, attacked, refusals, sent } = reports[name];
    expect({ lives, leaks }).toEqual({ lives: true, leaks: [] });
    expect(resident.most - resident.before).toBeLessThan(MOST_GROWTH);
    expect(attacked.count).toBeGreaterThan(0);
    // Greetings and questions on the control link are not all answered.
    expect(refusals).toBeGreaterThan(2500);
    expect(sent["slow handshakes that were ended"]).toBe(sent["slow handshakes"]);
    expect(sent["wrong keys"]).toBe(name === "keys" ? 8 : 0);
    console.log(name, "alone:", reports[name].alone, "attacked:", attacked, "MiB:", resident);
  });
});
