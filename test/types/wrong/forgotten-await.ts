/** A reference where its value is meant. Each line ends in the one error it must give. */
import { worker } from "../worker.ts";
import type { AnyRef } from "../worker.ts";

const torch = worker.import("torch");
const x = torch.ones(3);
const flags = [1, 2, 3];
declare const untyped: AnyRef;

if (torch.cuda.is_available()) flags.pop(); // TS2801 a method's result in if
if (x.requires_grad) flags.pop(); // TS2801 an attribute in if
if (untyped(1)) flags.pop(); // TS2801 an untyped call in if
if (torch.is_grad_enabled()) flags.pop(); // TS2801 a function of torch in if
if (flags.length > 1 && x.equal(x)) flags.pop(); // TS2801 at the end of a conjunction
export const device = torch.cuda.is_available() ? "cuda" : "cpu"; // TS2801 in a conditional expression
export const both = torch.cuda.is_available() && "cuda"; // TS2801 on the left of &&
export const greater = x.item() > 3; // TS2365 an order between a reference and a number
export const sum = 1 + x.item(); // TS2365 number + reference
export const twice = x.item() * 2; // TS2362 reference * number
export const equal = x.item() === 3; // TS2367 an equality between a reference and a number
export const three: number = x.item(); // TS2322 a reference as a number
export const text: string = torch.cuda.get_device_name(); // TS2322 a reference as a string
export const yes: boolean = x.is_cuda; // TS2322 a reference as a boolean
export const picked = flags[x.argmax().item()]; // TS2538 a reference as an index
export const fixed = x.item().toFixed(2); // TS2339 a method of numbers
export const largest = Math.max(x.item(), 1); // TS2345 a reference given to a function of JavaScript
switch (x.dim()) {
  case 2: // TS2678 a case of a reference
    flags.pop();
}
for (const p of torch.nn.Linear(1, 1).parameters()) flags.push(p); // TS2488 for … of without await
export const [first] = x.max(0); // TS2488 array destructuring of a tuple
export const spread = [...x.shape]; // TS2488 spreading
export function later(): number {
  return x.item(); // TS2322 returned from a function that is not async
}
export const mean = [x.item()].reduce((a, b) => a + b); // TS2365 in a callback
