// Randomness comes in through a constructor, so that a seed reproduces a run.
import { randomFillSync } from 'node:crypto';

export interface Random {
  /** Fills `target` with random bytes: unpredictable in production, seeded in tests. */
  fill(target: Uint8Array): void;
}

export class SystemRandom implements Random {
  fill(target: Uint8Array): void {
    randomFillSync(target);
  }
}

/** xoshiro-free and small: splitmix64 over two 32-bit halves is plenty for tests. Not for secrets. */
export class SeededRandom implements Random {
  #state: bigint;

  constructor(seed: number) {
    this.#state = BigInt.asUintN(64, BigInt(seed) * 0x9e3779b97f4a7c15n + 1n);
  }

  /** A uniform integer in [0, bound). */
  below(bound: number): number {
    return Number(this.#next() % BigInt(bound));
  }

  fill(target: Uint8Array): void {
    for (let index = 0; index < target.length; index += 1) target[index] = this.below(256);
  }

  #next(): bigint {
    this.#state = BigInt.asUintN(64, this.#state + 0x9e3779b97f4a7c15n);
    let z = this.#state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  }
}
