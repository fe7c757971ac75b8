// Persistent reservations between two initiators, which are one kernel under two names.
import assert from 'node:assert/strict';
import { INITIATOR_NAME } from '../support/image.ts';
import { INITIATOR_B, type Scenario, type World } from '../support/world.ts';

export const reservationScenarios: readonly Scenario[] = [
  {
    name: 'sg_persist: every reservation type holds the other initiator off as it must',
    run: types,
  },
  { name: 'sg_persist: preempt takes a reservation over, clear ends it', run: preempt },
  { name: 'a reservation with APTPL outlives kill -9 of the daemon', run: aptpl, needs: 'aptpl' },
];

// udev is stopped: under an exclusive reservation its re-read of the partition table would leave a disk of no blocks.
const TWO_INITIATORS = (iqn: string): string => `
  udevadm control --stop-exec-queue
  iscsiadm -m iface -I second -o new >/dev/null
  iscsiadm -m iface -I second -o update -n iface.initiatorname -v ${INITIATOR_B} >/dev/null
  discover -I default -I second >/dev/null
  login ${iqn} -I default
  login ${iqn} -I second
  head -c 512 /dev/zero >/tmp/block`;

const WORDS = (iqn: string): string => `
  A=$(disk_of ${iqn} ${INITIATOR_NAME}); B=$(disk_of ${iqn} ${INITIATOR_B})
  # A unit attention waits for the next command: it is taken here, before the command whose answer counts.
  settle() { sg_turs $A >/dev/null 2>&1 || true; sg_turs $B >/dev/null 2>&1 || true; }
  pr() { local d=$1; shift; settle; sg_persist --no-inquiry --out "$@" $d >/tmp/pr 2>&1; }
  outcome() { case $1 in 0) echo ok;; 24) echo conflict;; *) echo "status-$1";; esac; }
  reads() { local s=0; sg_raw -r 512 $1 28 00 00 00 00 00 00 00 01 00 >/dev/null 2>&1 || s=$?; outcome $s; }
  writes() { local s=0; sg_raw -s 512 -i /tmp/block $1 2a 00 00 00 00 00 00 00 01 00 >/dev/null 2>&1 || s=$?; outcome $s; }`;

/** What another initiator may do, SPC-4 r37 table "allowed commands": [read, write] unregistered, then registered. */
const ALLOWED: Record<number, readonly [string, string]> = {
  1: ['ok conflict', 'ok conflict'],
  3: ['conflict conflict', 'conflict conflict'],
  5: ['ok conflict', 'ok ok'],
  6: ['conflict conflict', 'ok ok'],
  7: ['ok conflict', 'ok ok'],
  8: ['conflict conflict', 'ok ok'],
};

async function types(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 16, blockBytes: 512 });
  await world.must(TWO_INITIATORS(iqn));
  try {
    const output = await world.must(`${WORDS(iqn)}
      for type in ${Object.keys(ALLOWED).join(' ')}; do
        pr $A --register --param-sark=0xa1
        pr $A --reserve --param-rk=0xa1 --prout-type=$type
        settle
        stranger="$(reads $B) $(writes $B)"
        pr $B --register --param-sark=0xb2
        settle
        member="$(reads $B) $(writes $B)"
        echo "$type: $stranger / $member / $(reads $A) $(writes $A)"
        pr $A --clear --param-rk=0xa1
        settle
      done`);
    const expected = Object.entries(ALLOWED).map(
      ([type, [stranger, member]]) => `${type}: ${stranger} / ${member} / ok ok`,
    );
    assert.deepEqual(output.split('\n'), expected);
  } finally {
    await world.run('udevadm control --start-exec-queue');
  }
}

async function preempt(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 16, blockBytes: 512 });
  await world.must(TWO_INITIATORS(iqn));
  try {
    const output = await world.must(`${WORDS(iqn)}
      pr $A --register --param-sark=0xa1
      pr $B --register --param-sark=0xb2
      pr $A --reserve --param-rk=0xa1 --prout-type=5
      pr $B --preempt --param-rk=0xb2 --param-sark=0xa1 --prout-type=1
      settle
      echo "after the preempt: $(writes $A) $(writes $B)"
      sg_persist --no-inquiry --in --read-keys $A
      sg_persist --no-inquiry --in --read-reservation $A
      pr $B --clear --param-rk=0xb2
      settle
      echo "after the clear: $(writes $A) $(writes $B)"
      sg_persist --no-inquiry --in --read-keys $A`);
    assert.match(output, /after the preempt: conflict ok/);
    assert.match(output, /0xb2/);
    assert.doesNotMatch(output, /0xa1/);
    assert.match(output, /Write Exclusive/);
    assert.match(output, /after the clear: ok ok/);
    assert.match(output, /0 registered reservation keys|there are NO registered/i);
  } finally {
    await world.run('udevadm control --start-exec-queue');
  }
}

async function aptpl(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 16, blockBytes: 512 });
  await world.must(TWO_INITIATORS(iqn));
  try {
    await world.must(`${WORDS(iqn)}
      pr $A --register --param-sark=0xa1 --param-aptpl
      pr $A --reserve --param-rk=0xa1 --prout-type=3`);
    await world.target.crash();
    await world.target.start();
    const output = await world.must(`
      wait_logged_in ${iqn}
      ${WORDS(iqn)}
      settle
      settle
      echo "holder: $(reads $A) $(writes $A), other: $(reads $B) $(writes $B)"
      sg_persist --no-inquiry --in --read-keys $A
      sg_persist --no-inquiry --in --read-reservation $A
      pr $A --clear --param-rk=0xa1`);
    assert.match(output, /holder: ok ok, other: conflict conflict/);
    assert.match(output, /0xa1/);
    assert.match(output, /Exclusive Access/);
  } finally {
    await world.run('udevadm control --start-exec-queue');
  }
}
