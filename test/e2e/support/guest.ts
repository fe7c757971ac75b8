// The guest: a Linux kernel that is not ours, in QEMU, driven over a virtio serial port. The host sends a script and
// gets its output and exit status; what the host does in between (kill the daemon, resize) is ordinary test code.
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { GuestImage } from './image.ts';
import { kvmWorks } from './kvm.ts';
import { exited, startProcess } from './process.ts';

export type GuestResult = { readonly status: number; readonly output: string };

/** For hangs. Under emulation everything is 10 to 30 times slower than native, and the machine is shared. */
const BOOT_LIMIT_MS = { kvm: 60_000, tcg: 900_000 };
/** For hangs: nothing takes a minute on a machine that is free, and a busy one takes several times as long. */
const SCRIPT_LIMIT_MS = 600_000;

/** How `must` runs its script: strictly, and traced into a file. */
const MUST =
  'exec 4>/run/trace; BASH_XTRACEFD=4; PS4="+ \\t "; set -x -e -o pipefail; . /run/must.sh';

type Accelerator = 'kvm' | 'tcg';

type Turn = {
  readonly nonce: string;
  output: string;
  readonly resolve: (result: GuestResult) => void;
};

export class Guest {
  readonly accelerator: Accelerator;
  readonly #qemu: ChildProcess;
  readonly #port: Duplex;
  readonly #folder: string;
  #received = '';
  #turn: Turn | undefined;
  #turns = 0;

  private constructor(accelerator: Accelerator, qemu: ChildProcess, port: Duplex, folder: string) {
    this.accelerator = accelerator;
    this.#qemu = qemu;
    this.#port = port;
    this.#folder = folder;
    port.setEncoding('utf8');
    port.on('data', (text: string) => this.#receive(text));
    port.on('error', () => undefined); // The port ends with QEMU; whoever waits for an answer has a deadline.
  }

  /** Boots with KVM when it works here, and else under emulation. */
  static async boot(image: GuestImage): Promise<Guest> {
    for (const accelerator of await candidates()) {
      const guest = Guest.#start(image, accelerator);
      try {
        await guest.#exchange('ready', BOOT_LIMIT_MS[accelerator]);
        return guest;
      } catch (error) {
        const told = guest.consoleTail();
        await guest.dispose();
        if (accelerator === 'tcg') {
          throw new Error(`the guest did not boot; its console ends with\n${told}`, {
            cause: error,
          });
        }
      }
    }
    throw new Error('unreachable: emulation is always tried');
  }

  static #start(image: GuestImage, accelerator: Accelerator): Guest {
    const folder = mkdtempSync(join(tmpdir(), 'ashlar-guest-'));
    const kernelLine = [
      'console=ttyS0 panic=-1 mitigations=off nokaslr net.ifnames=0 random.trust_cpu=on',
      'no_timer_check tsc=reliable audit=0 quiet',
    ];
    const qemu = startProcess(
      'qemu-system-x86_64',
      [
        ...(accelerator === 'kvm'
          ? ['-accel', 'kvm', '-cpu', 'host,arch-capabilities=off']
          : ['-accel', 'tcg,thread=multi', '-cpu', 'Westmere,rdrand=on']),
        ...['-smp', '1', '-m', '512', '-nodefaults', '-no-reboot', '-display', 'none'],
        ...['-kernel', image.kernel, '-initrd', image.initrd, '-append', kernelLine.join(' ')],
        ...['-chardev', `file,id=console,path=${join(folder, 'console')}`],
        ...['-serial', 'chardev:console'],
        ...['-drive', `file=${image.root},format=raw,if=none,id=root,snapshot=on,cache=unsafe`],
        ...['-device', 'virtio-blk-pci,drive=root'],
        ...['-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net,romfile='],
        ...['-chardev', 'socket,id=agent,fd=3', '-device', 'virtio-serial-pci'],
        ...['-device', 'virtserialport,chardev=agent,name=agent'],
      ],
      { stdio: ['ignore', 'pipe', 'pipe', 'pipe'], logFile: join(folder, 'qemu') },
    );
    return new Guest(accelerator, qemu, qemu.stdio[3] as Duplex, folder);
  }

  /** Runs a bash script in the guest. Resolves with its status, whatever it is. */
  async run(script: string, timeoutMs = SCRIPT_LIMIT_MS): Promise<GuestResult> {
    this.#turns += 1;
    const nonce = `t${this.#turns}`;
    const answer = this.#exchange(nonce, timeoutMs);
    this.#port.write(`${nonce} ${Buffer.from(script).toString('base64')}\n`);
    return answer;
  }

  /**
   * Runs a script that must succeed; answers its output. `set -e` is on, so the first failure ends it. A trace is kept
   * in the guest: the end of it says which command failed, or which one never came back, when it said nothing itself.
   */
  async must(script: string, timeoutMs = SCRIPT_LIMIT_MS): Promise<string> {
    // The guest gives up first: from outside a script cannot be asked where it is.
    const limitS = Math.ceil(timeoutMs / 1000);
    const { status, output } = await this.run(
      [
        `cat >/run/must.sh <<'END-OF-SCRIPT'\n${script}\nEND-OF-SCRIPT`,
        'rm -f /run/trace',
        `timeout -k 5 ${limitS} bash -c '${MUST}' && exit 0`,
        `status=$?; [ $status = 124 ] && echo "(not through within ${limitS} s)"`,
        'echo "the last commands:"; tail -n 12 /run/trace; exit $status',
      ].join('\n'),
      timeoutMs + 30_000,
    );
    if (status !== 0) throw new Error(`in the guest, exit ${status}: ${script.trim()}\n${output}`);
    return output;
  }

  #exchange(nonce: string, timeoutMs: number): Promise<GuestResult> {
    if (this.#turn !== undefined) throw new Error('the guest runs one script at a time');
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        clearTimeout(deadline);
        this.#qemu.off('exit', gone);
        this.#turn = undefined;
      };
      const turn: Turn = {
        nonce,
        output: '',
        resolve: (result) => {
          settle();
          resolve(result);
        },
      };
      const fail = (why: string): void => {
        settle();
        reject(new Error(`${why}; until then it said:\n${turn.output}`));
      };
      const gone = (): void => fail('QEMU ended');
      const deadline = setTimeout(() => {
        fail(`no answer from the guest within ${timeoutMs / 1000} s`);
      }, timeoutMs);
      this.#qemu.once('exit', gone);
      this.#turn = turn;
      if (this.#qemu.exitCode !== null || this.#qemu.signalCode !== null) gone();
    });
  }

  #receive(text: string): void {
    this.#received += text;
    for (;;) {
      const end = this.#received.indexOf('\n');
      if (end < 0) return;
      const line = this.#received.slice(0, end).replace(/\r$/, '');
      this.#received = this.#received.slice(end + 1);
      const turn = this.#turn;
      if (turn === undefined) continue; // The late end of a script whose deadline has passed.
      const marker = /^@@(\S+) (\d+)$/.exec(line);
      if (marker === null) turn.output += `${line}\n`;
      else if (marker[1] === turn.nonce) {
        turn.resolve({ status: Number(marker[2]), output: turn.output.replace(/\n+$/, '') });
      }
    }
  }

  /** The last lines of the kernel's console, for a failure's report. */
  consoleTail(): string {
    try {
      return readFileSync(join(this.#folder, 'console'), 'utf8').slice(-3000);
    } catch {
      return '(no console output)';
    }
  }

  async dispose(): Promise<void> {
    this.#qemu.kill('SIGKILL');
    await exited(this.#qemu);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function candidates(): Promise<Accelerator[]> {
  const asked = process.env['ASHLAR_E2E_ACCEL'];
  if (asked === 'tcg') return ['tcg'];
  return asked === 'kvm' || (await kvmWorks()) ? ['kvm', 'tcg'] : ['tcg'];
}
