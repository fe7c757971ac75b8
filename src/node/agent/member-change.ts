// A change of a volume's members while it is under way. It may wait for a node that is away and comes back at another address:
// the volume is looked at meanwhile, which tells its coordinator where that is.
import type { Clock } from '../../base/index.ts';

export class MemberChange {
  /** What is wanted. */
  readonly key: string;
  readonly #ended: Promise<void>;
  isEnded = false;
  error: Error | null = null;

  /** `onEnd`: it was made, or cannot be. */
  constructor(key: string, change: Promise<void>, onEnd: () => void) {
    this.key = key;
    this.#ended = change
      .catch((error: Error) => {
        this.error = error;
      })
      .then(() => {
        this.isEnded = true;
        onEnd();
      });
  }

  /** Resolves when it has ended, or after so long. */
  async within(clock: Clock, ms: number): Promise<void> {
    if (this.isEnded) return;
    await new Promise<void>((resolve) => {
      const timer = clock.schedule(ms, resolve);
      void this.#ended.then(() => {
        timer.cancel();
        resolve();
      });
    });
  }
}
