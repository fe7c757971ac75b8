// What this machine is, as its Node tells it and `kubectl describe node` shows it.
import { readFileSync } from 'node:fs';
import { arch, availableParallelism, platform, release, totalmem } from 'node:os';
import type { NodeStatus } from '../../kinds/index.ts';

export type Machine = NonNullable<NodeStatus['machine']>;

/** As Go names them, which is how Kubernetes' clients do. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' };

/** `root`: where etc and proc are. What cannot be read is empty. */
export function machineOf(root = ''): Machine {
  const read = (path: string): string => {
    try {
      return readFileSync(`${root}${path}`, 'utf8').trim();
    } catch {
      return '';
    }
  };
  // os-release(5): shell assignments, the value in quotes or not.
  const pretty = /^PRETTY_NAME=(["']?)(.*)\1$/m.exec(read('/etc/os-release'))?.[2];
  return {
    processors: availableParallelism(),
    memoryBytes: totalmem(),
    operatingSystem: platform(),
    osImage: pretty ?? '',
    kernelVersion: release(),
    architecture: ARCHITECTURES[arch()] ?? arch(),
    bootId: read('/proc/sys/kernel/random/boot_id'),
  };
}
