// The opening of a pool may take long: a long log is replayed, or the map of free space is made anew from everything else
// that is there. A service manager that gives a start a time would end it, and each one after it at the same place.
import type { Clock } from '../base/index.ts';

/** The first word comes after this long, and further ones as often. */
const EVERY_MS = 20_000;
/** How much more is asked for each time: systemd's EXTEND_TIMEOUT_USEC. */
const MORE_MS = 120_000;

export interface LongOpeningOptions {
  readonly clock: Clock;
  readonly notify: (text: string) => void;
  /** For people, once. */
  readonly tell: (message: string) => void;
}

/** What `opening` ends with. Until then the service manager is asked for more time, for as long as it takes. */
export async function givenTime<T>(
  opening: Promise<T>,
  { clock, notify, tell }: LongOpeningOptions,
): Promise<T> {
  let told = false;
  const ask = (): void => {
    notify(`EXTEND_TIMEOUT_USEC=${MORE_MS * 1000}`);
    if (!told) {
      tell(
        'The pool takes long to open: its log is replayed, or a damaged map of free space is made anew from all it holds. Let it end ...',
      );
    }
    told = true;
    timer = clock.schedule(EVERY_MS, ask);
  };
  let timer = clock.schedule(EVERY_MS, ask);
  try {
    return await opening;
  } finally {
    timer.cancel();
  }
}
