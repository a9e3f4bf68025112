/** Where torchwire cannot work: an error that says so, before any binary is loaded. */
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { packageRoot } from "../../bridge/environment/package.ts";
import { type Globals, whyUnsupported } from "../../bridge/platform.ts";

const node = (version: string): Globals => ({ process: { versions: { node: version } } });

describe("a place is judged by its globals", () => {
  const refused: [string, Globals, RegExp][] = [
    ["Bun, which passes for Node", { ...node("24.3.0"), Bun: {} }, /does not work in Bun: run it with Node\.js/],
    ["Deno, which passes for Node", { ...node("24.0.0"), Deno: {} }, /in Deno/],
    ["Vercel's edge", { EdgeRuntime: "edge-runtime" }, /in an edge runtime/],
    ["Cloudflare's workers", { navigator: { userAgent: "Cloudflare-Workers" } }, /in an edge runtime/],
    ["a browser", { document: {}, navigator: { userAgent: "Mozilla/5.0" } }, /in a browser/],
    ["a bundler's stand-in for process", { document: {}, process: {} }, /in a browser/],
    ["a service worker", {}, /in a runtime without Node's modules/],
    ["Node 18", node("18.20.4"), /needs Node\.js 20\.19, or 22\.12 or newer; this is Node\.js 18\.20\.4/],
    ["Node 20, too early", node("20.18.3"), /20\.18\.3/],
    ["Node 21", node("21.7.3"), /21\.7\.3/],
    ["Node 22, too early", node("22.11.0"), /22\.11\.0/],
  ];
  test.for(refused)("%s: refused", ([, globals, why]) => {
    expect(whyUnsupported(globals)).toMatch(why);
  });

  const accepted = ["20.19.0", "22.12.0", "23.0.0", "24.1.0", "26.3.1"];
  test.for(accepted)("Node %s: accepted, also with a document of a test's", (version) => {
    expect(whyUnsupported(node(version))).toBeUndefined();
    expect(whyUnsupported({ ...node(version), document: {} })).toBeUndefined();
  });
});

/** Runs `code` in a Node with changed globals, in which every binary is refused. */
function changed(globals: string, code: string): Promise<{ exitCode?: number; stdout: string; stderr: string }> {
  const before = `process.dlopen = () => { throw new Error("a binary was loaded") }; ${globals}`;
  const args = ["--import", "tsx", "--import", `data:text/javascript,${encodeURIComponent(before)}`];
  return execa(process.execPath, [...args, "--input-type=module", "--eval", code], {
    cwd: packageRoot(),
    reject: false,
  });
}

describe("what is imported", () => {
  const globals: [string, string][] = [
    ["globalThis.Bun = { version: '1.4.5' }", "Bun"],
    ["globalThis.Deno = { version: {} }", "Deno"],
    ["globalThis.EdgeRuntime = 'edge-runtime'", "an edge runtime"],
  ];
  test.for(globals)("with %s says so before zeromq's binary is loaded", async ([before, name]) => {
    const code = `import("./client/index.ts").catch((error) => console.log(error.code, error.message))`;
    const { stdout } = await changed(before, code);
    expect(stdout).toMatch(new RegExp(`^ENVIRONMENT torchwire does not work in ${name}: run it with Node`));
  });

  test("without them gets as far as the binary", async () => {
    const { stdout } = await changed("", `import("./client/index.ts").catch((error) => console.log(error.message))`);
    expect(stdout).toMatch(/binary was loaded|No compatible zeromq/);
  });

  test("as the command says the same", async () => {
    const { exitCode, stderr } = await changed("globalThis.Bun = {}", `import("./bridge/cli.ts")`);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 1,
      stderr: expect.stringMatching(/EnvironmentError: torchwire does not work in Bun/),
    });
  });
});
