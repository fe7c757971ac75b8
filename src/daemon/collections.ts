// When V8 collects the heap of a daemon that has become idle.
import { setFlagsFromString } from 'node:v8';

/** The newest V8 that is known to have the flag; a flag that it does not know it complains of on stderr. */
const LAST_V8_MAJOR = 13;

/**
 * Eight seconds after a busy time V8 collects everything, to give memory back, and then twice more in the next two seconds
 * in case what was freed lets more go. With a thousand replicated volumes each of these marks 300 MiB, which takes 0.6 s of
 * processor time, and the second and third found less than a hundredth of what the first did. One is enough.
 */
export function collectOnceWhenIdle(): void {
  const major = Number(process.versions.v8?.split('.')[0]);
  if (major <= LAST_V8_MAJOR) setFlagsFromString('--memory-reducer-single-gc');
}
