/** A call of a function of the program by Python, which waits for its end. */

export class Call {
  readonly id: number;
  /** The call whose function has run what called, on the same thread of Python. */
  readonly within: Call | undefined;
  /** The log of the program waits for it: the worker's main thread has called. */
  readonly holds: boolean;
  isOver = false;

  constructor(id: number, within: Call | undefined, holds: boolean) {
    this.id = id;
    this.within = within;
    this.holds = holds;
  }
}

/** The call that `call` is of, or that it was made in, as long as Python waits for that. */
export function openCall(call: Call | undefined): Call | undefined {
  let open = call;
  while (open?.isOver === true) open = open.within;
  return open;
}

/** Whether the function of `call` would wait for itself if it awaited what runs in `other`: undefined is no call. */
export function waitsForItself(call: Call | undefined, other: Call | undefined): boolean {
  const [from, to] = [openCall(call), openCall(other)];
  if (from === undefined || from === to) return false;
  if (to === undefined) return from.holds;
  for (let outer = from.within; outer !== undefined; outer = outer.within) if (outer === to) return true;
  return false;
}
