/** The instrument of remote-hosts.test.ts, with plain sockets: two machines, and a cable that can be pulled. */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, test } from "vitest";
import { describeWithHosts, Hosts, type Host } from "../fixtures/hosts.ts";

let hosts: Hosts;
let children: ChildProcess[];

beforeEach(() => {
  [hosts, children] = [new Hosts(), []];
});
afterEach(() => {
  for (const child of children) child.kill("SIGKILL");
  hosts[Symbol.dispose]();
});

/** Runs a program there; the lines it writes, one at a time. */
function runOn(host: Host, program: string): AsyncIterator<string> {
  const [command, ...args] = host.inside;
  const child = spawn(command, [...args, process.execPath, "-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  return createInterface({ input: child.stdout })[Symbol.asyncIterator]();
}

const said = async (lines: AsyncIterator<string>): Promise<unknown> => (await lines.next()).value;

const echo = (host: Host): string =>
  `require("net").createServer((s) => s.pipe(s)).listen(5555, "${host.address}", () => console.log("listening"))`;

/** Sends the numbers from 0 on, one when the last is back, and says each that is. */
const counting = (host: Host): string =>
  `const s = require("net").connect(5555, "${host.address}", () => s.write("0"));
   s.on("data", (d) => { console.log(String(d)); setTimeout(() => s.write(String(Number(d) + 1)), 10); });`;

describeWithHosts("two hosts", () => {
  test("reach each other, and nobody else does", async () => {
    expect(await said(runOn(hosts.gpuBox, echo(hosts.gpuBox)))).toBe("listening");
    const counted = runOn(hosts.laptop, counting(hosts.gpuBox));
    expect([await said(counted), await said(counted)]).toEqual(["0", "1"]);
    const { address } = hosts.gpuBox;
    const outside = `require("net").connect({ port: 5555, host: "${address}", timeout: 500 }).on("connect", () => console.log("in")).on("error", () => process.exit()).on("timeout", () => process.exit())`;
    expect(execFileSync(process.execPath, ["-e", outside]).toString()).toBe("");
  });

  test("hear nothing of each other while the cable is out, and go on where they were when it is in again", async () => {
    expect(await said(runOn(hosts.gpuBox, echo(hosts.gpuBox)))).toBe("listening");
    const counted = runOn(hosts.laptop, counting(hosts.gpuBox));
    expect(await said(counted)).toBe("0");
    hosts.pull();
    // One may be on its way to us.
    let last = 0;
    let next = said(counted);
    while (last < 1000) {
      const found = await Promise.race([next, new Promise((resolve) => setTimeout(() => resolve("nothing"), 700))]);
      if (found === "nothing") break;
      last = Number(found);
      next = said(counted);
    }
    expect(last).toBeLessThan(1000);
    hosts.plug();
    expect([await next, await said(counted)]).toEqual([String(last + 1), String(last + 2)]);
  });

  test("are gone afterwards", () => {
    const names = (): string => execFileSync("ip", ["netns", "list"]).toString();
    const name = hosts.laptop.inside.at(-1)!;
    expect(names()).toContain(name);
    hosts[Symbol.dispose]();
    expect(names()).not.toContain(name);
    hosts[Symbol.dispose]();
  });
});
