// What a scenario gets: a booted Linux initiator, a running target, and the shell words in which an administrator of
// open-iscsi thinks. A scenario makes its own volumes; after it everything is logged out and forgotten again.
import { Guest, type GuestResult } from './guest.ts';
import type { GuestImage } from './image.ts';
import { type Exported, isRunning, type Target, type VolumeOptions } from './target.ts';

export const INITIATOR_B = 'iqn.2026-11.io.ashlar.test:initiator-b';

/** A named check. It throws when what it is named for does not hold. */
export type Scenario = {
  readonly name: string;
  readonly run: (world: World) => Promise<void>;
  /** What a target must be able to do for the scenario to mean anything; the peer may lack it, ashlar has it all. */
  readonly needs?:
    | 'digests'
    | 'resize'
    | 'used-bytes'
    | 'sessions'
    | 'acl'
    | 'aptpl'
    | 'hints'
    | 'replicas'
    | 'nodes';
};

// Functions of every script. A session is found by its target and its initiator's name, never by the order of names
// under /dev: with two initiators both would have the same link in /dev/disk/by-path.
const SHELL_WORDS = `
session_of() { # IQN [INITIATOR]
  for s in /sys/class/iscsi_session/session*; do
    [ "$(cat $s/targetname 2>/dev/null)" = "$1" ] || continue
    [ -z "\${2:-}" ] || [ "$(cat $s/initiatorname)" = "$2" ] || continue
    echo "$s"; return 0
  done
  return 1
}
find_disk() {
  local s; s=$(session_of "$@") || return 1
  for d in $s/device/target*/*/block/*; do [ -e "$d" ] && echo "/dev/\${d##*/}" && return 0; done
  return 1
}
disk_of() { # IQN [INITIATOR]: waits for the disk, prints its device
  local d i
  for i in $(seq 1800); do
    if d=$(find_disk "$@") && [ -b "$d" ] && [ "$(blockdev --getsize64 $d)" -gt 0 ]; then echo "$d"; return 0; fi
    sleep 0.1
  done
  echo "no disk of $1 appeared" >&2; return 1
}
discover() { iscsiadm -m discovery -t st -p "$PORTAL" "$@"; }
setting() { iscsiadm -m node -T "$1" -p "$PORTAL" -o update -n "$2" -v "$3"; } # IQN NAME VALUE
login() { local t=$1; shift; iscsiadm -m node -T "$t" -p "$PORTAL" "$@" --login >/dev/null; }
logout() { local t=$1; shift; iscsiadm -m node -T "$t" -p "$PORTAL" "$@" --logout >/dev/null; }
chap() { # IQN USER SECRET [USER-IN SECRET-IN]
  setting "$1" node.session.auth.authmethod CHAP
  setting "$1" node.session.auth.username "$2"
  setting "$1" node.session.auth.password "$3"
  if [ -n "\${4:-}" ]; then
    setting "$1" node.session.auth.username_in "$4"
    setting "$1" node.session.auth.password_in "$5"
  fi
}
sessions_of() { # IQN: a line for each session, with its state
  local s
  for s in /sys/class/iscsi_session/session*; do
    [ "$(cat $s/targetname 2>/dev/null)" = "$1" ] && echo "\${s##*/} $(cat $s/state)"
  done
  return 0
}
wait_logged_in() { # IQN: until all its sessions work again
  local i states
  for i in $(seq 3000); do
    states=$(sessions_of "$1")
    [ -n "$states" ] && ! grep -qv ' LOGGED_IN$' <<<"$states" && return 0
    sleep 0.1
  done
  echo "the sessions of $1 did not come back: $states" >&2; return 1
}
written() { awk '{print $5}' /sys/block/\${1##*/}/stat; } # DISK: completed writes
# Every block carries the generation GEN and its own offset, so a block that is stale or in the wrong place shows.
fio_write() { # NAME FILE GEN ARGS…
  local n=$1 f=$2 g=$3; shift 3
  fio --name=$n --filename=$f --rw=randwrite --bs=4k --direct=1 --ioengine=libaio --iodepth=16 \\
    --verify=pattern --verify_pattern=0x$g%o --verify_interval=4096 --do_verify=0 \\
    --output=/tmp/$n.out --eta=never "$@"
}
fio_check() { # NAME FILE GEN ARGS…
  local n=$1 f=$2 g=$3; shift 3
  fio --name=$n --filename=$f --rw=read --bs=4k --direct=1 --ioengine=libaio --iodepth=16 \\
    --verify=pattern --verify_pattern=0x$g%o --verify_interval=4096 --verify_fatal=1 --eta=never "$@" \\
    >/tmp/$n.out 2>&1 || { local status=$?; echo "fio_check $n: exit $status"; tail -n 40 /tmp/$n.out; return $status; }
}
`;

const CLEAN_UP = `
umount -R /mnt/a /mnt/b 2>/dev/null
pkill -9 fio
pgrep -x multipathd >/dev/null && {
  multipathd disablequeueing maps
  multipath -F
  multipathd shutdown
}
timeout 240 iscsiadm -m node --logoutall=all
iscsiadm -m node -o delete
iscsiadm -m discoverydb -o delete
iscsiadm -m iface -I second -o delete
rm -rf /tmp/*
dmesg -C
true`;

export class World {
  readonly target: Target;
  readonly #image: GuestImage;
  #guest: Guest | undefined;
  #volumes: string[] = [];
  #created = 0;

  constructor(target: Target, image: GuestImage) {
    this.target = target;
    this.#image = image;
  }

  async guest(): Promise<Guest> {
    if (this.#guest === undefined) {
      const guest = await Guest.boot(this.#image);
      await guest.must(`cat >/run/words.sh <<'END'\n${SHELL_WORDS}\nEND`);
      this.#guest = guest;
    }
    return this.#guest;
  }

  get portal(): string {
    return `127.0.0.1:${this.target.portalPort}`;
  }

  /** Runs a script in the guest that must succeed, with the shell words above. */
  async must(script: string, timeoutMs?: number): Promise<string> {
    return (await this.guest()).must(this.#prepare(script), timeoutMs);
  }

  /** Runs a script in the guest and answers how it ended. */
  async run(script: string, timeoutMs?: number): Promise<GuestResult> {
    return (await this.guest()).run(this.#prepare(script), timeoutMs);
  }

  #prepare(script: string): string {
    return `PORTAL=${this.portal}; . /run/words.sh\n${script}`;
  }

  /** A volume with a name of its own: one that a scenario left half used cannot meet the next one. */
  async volume(options: VolumeOptions): Promise<Exported & { readonly name: string }> {
    this.#created += 1;
    const name = `e2e-${this.#created}`;
    const exported = await this.target.createVolume(name, options);
    this.#volumes.push(name);
    return { ...exported, name };
  }

  /** Logs out and forgets everything. A guest or a daemon that does not survive this is replaced. */
  async cleanUp(): Promise<void> {
    if (!isRunning(this.target)) await this.target.start();
    if (this.#guest !== undefined) {
      try {
        await this.#guest.run(CLEAN_UP, 300_000);
      } catch {
        await this.#guest.dispose();
        this.#guest = undefined;
      }
    }
    for (const name of this.#volumes.splice(0)) {
      await this.target.deleteVolume(name).catch(() => undefined); // The scenario's own failure is the news.
    }
  }

  async dispose(): Promise<void> {
    await this.#guest?.dispose();
    await this.target.dispose();
  }

  consoleTail(): string {
    return this.#guest?.consoleTail() ?? '';
  }
}
