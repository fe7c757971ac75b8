// Whether KVM works here. That /dev/kvm can be opened says little: on some nested machines a guest then never gets past its
// first instructions. So one of seven bytes is booted, which ends QEMU with a status of its own.
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from './process.ts';

/** Half a second where it works. Too short on a busy machine costs the speed of KVM, nothing else. */
const LIMIT_MS = 5_000;
const EXIT_PORT = 0xf4;
const EXIT_VALUE = 0x2a;

export async function kvmWorks(): Promise<boolean> {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch {
    return false;
  }
  const folder = mkdtempSync(join(tmpdir(), 'ashlar-kvm-'));
  try {
    // mov al, EXIT_VALUE; out EXIT_PORT, al; hlt; jmp back to the hlt. The last two bytes make it a boot sector.
    const sector = Buffer.alloc(512);
    sector.set([0xb0, EXIT_VALUE, 0xe6, EXIT_PORT, 0xf4, 0xeb, 0xfd]);
    sector.writeUInt16LE(0xaa55, 510);
    const disk = join(folder, 'sector');
    writeFileSync(disk, sector);
    const { status } = await run(
      'qemu-system-x86_64',
      [
        ...['-accel', 'kvm', '-cpu', 'host', '-m', '16', '-nodefaults', '-no-reboot'],
        ...['-display', 'none', '-device', `isa-debug-exit,iobase=${EXIT_PORT},iosize=1`],
        ...['-drive', `file=${disk},format=raw,if=ide,snapshot=on`],
      ],
      { timeoutMs: LIMIT_MS },
    );
    // isa-debug-exit's own arithmetic.
    return status === ((EXIT_VALUE << 1) | 1);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
