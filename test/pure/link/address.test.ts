/** Addresses of a worker elsewhere: one, or two with a comma between. */
import { expect, test } from "vitest";
import { readAddress, readPlace, shownPlace } from "../../../bridge/link/address.ts";

test("an address has a host and a port", () => {
  expect(readAddress("tcp://gpu-box:5555")).toEqual({
    url: "tcp://gpu-box:5555",
    host: "gpu-box",
    port: 5555,
    isLoopback: false,
  });
  expect(readAddress("tcp://[fe80::1]:65535")).toMatchObject({ host: "[fe80::1]", port: 65_535 });
  for (const host of ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
    expect(readAddress(`tcp://${host}:1`)?.isLoopback).toBe(true);
  for (const host of ["127.example.org", "localhost.example.org", "[::2]", "10.0.0.1"])
    expect(readAddress(`tcp://${host}:1`)?.isLoopback).toBe(false);
});

test.for([
  "gpu-box:5555",
  "http://gpu-box:5555",
  "tcp://gpu-box",
  "tcp://gpu-box:",
  "tcp://gpu-box:0",
  "tcp://gpu-box:65536",
  "tcp://gpu-box:5555/",
  "tcp://gpu box:5555",
  "tcp://a,b:5555",
  "tcp://:5555",
  "",
])("%j is none", (text) => {
  expect(readAddress(text)).toBeUndefined();
});

test("the second port is the next one, unless it is said", () => {
  const next = readPlace("tcp://gpu-box:5555")!;
  expect([next.control.url, next.isSaid]).toEqual(["tcp://gpu-box:5556", false]);
  expect(shownPlace(next)).toBe("tcp://gpu-box:5555");
  for (const said of [
    readPlace("tcp://gpu-box:30555, tcp://gate:7"),
    readPlace("tcp://gpu-box:30555", "tcp://gate:7"),
  ]) {
    expect([said!.data.port, said!.control.host, said!.control.port, said!.isSaid]).toEqual([30_555, "gate", 7, true]);
    expect(shownPlace(said!)).toBe("tcp://gpu-box:30555 (control: tcp://gate:7)");
  }
  expect(readPlace("tcp://gpu-box:65535")).toBeUndefined();
  expect(readPlace("tcp://gpu-box:65535", "tcp://gpu-box:1")!.data.port).toBe(65_535);
  for (const text of [
    "tcp://a:1,",
    "tcp://a:1,b:2",
    "tcp://a:1,tcp://b:2,tcp://c:3",
    ",tcp://a:1",
    "tcp://a:1 tcp://b:2",
  ])
    expect(readPlace(text)).toBeUndefined();
});
