// The boot id (V6): another one after each boot of the machine, the same for all processes of one.
import { readFileSync } from 'node:fs';

/** Lower-case UUID. Throws where the kernel gives none: without it a lost cache cannot be told from a kept one. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}
