// CRC32C of a header and of a data segment: the digests' cost, as the process computes them now.
import { crc32c, crc32cJs } from '../../src/base/index.ts';
import type { Case } from './harness.ts';

function over(bytes: number, sum: (data: Uint8Array) => number): (count: number) => number {
  const data = new Uint8Array(bytes).map((_, index) => index * 31);
  return (count) => {
    let last = 0;
    for (let i = 0; i < count; i += 1) last ^= sum(data);
    return last;
  };
}

export const cases: readonly Case[] = [48, 4096, 65_536].flatMap((bytes) => [
  { name: `crc32c ${bytes} B`, bytes, run: over(bytes, (data) => crc32c(data, 0, data.length, 0)) },
  {
    name: `crc32c in JavaScript ${bytes} B`,
    bytes,
    run: over(bytes, (data) => crc32cJs(data, 0, data.length, 0)),
  },
]);
