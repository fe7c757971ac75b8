// Assertions for our own bugs, left on in production. A peer's fault or the world's is never an assertion.

export class AssertionFailed extends Error {
  override readonly name = 'AssertionFailed';
}

/** Throws AssertionFailed unless `condition` holds. */
export function assert(condition: boolean, message = 'assertion failed'): asserts condition {
  if (!condition) throw new AssertionFailed(message);
}

/** Ends a `switch` over a union: the compiler proves it unreachable, the run time checks it. */
export function assertNever(value: never): never {
  throw new AssertionFailed(`unreachable value ${String(value)}`);
}
