/** Mistakes in recorded functions. */
import { worker } from "../worker.ts";
import type { Ref } from "../worker.ts";
import type { Tensor } from "../../../bridge/types/tensor.ts";

const typed = worker.function((x: Ref<Tensor>) => x.sum());

worker.function((x) => (x > 0 ? x : 0)); // TS2365 a comparison of a placeholder
worker.function((x) => x + 1); // TS2365 an addition to a placeholder
worker.function(3); // TS2769 a number where a function is recorded
typed(); // TS2554 a typed function without its argument
typed("x"); // TS2345 text for a tensor
