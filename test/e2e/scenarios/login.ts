// Discovery, and who is let in.
import assert from 'node:assert/strict';
import { INITIATOR_B, type Scenario, type World } from '../support/world.ts';

/** What iscsiadm ends with when the target refuses the initiator's authentication (ISCSI_ERR_LOGIN_AUTH_FAILED). */
const LOGIN_AUTH_FAILED = 24;

const CHAP = { user: 'alice', secret: 'alice-secret-0001' };
const TARGET_CHAP = { user: 'ashlar', secret: 'ashlar-secret-002' };

export const loginScenarios: readonly Scenario[] = [
  { name: 'discovery lists every volume with its portal', run: discovery },
  {
    name: 'what the daemon prints at its start works as it is printed',
    run: asPrinted,
    needs: 'hints',
  },
  {
    name: 'login without CHAP gives a disk of the right size; logout takes it away',
    run: plainLogin,
  },
  { name: 'logout ends the session at the target too', run: logoutAtTarget, needs: 'sessions' },
  { name: 'one-way CHAP lets the right secret in', run: oneWayChap },
  { name: 'CHAP refuses a wrong secret, a wrong user, and none at all', run: refusedChap },
  { name: 'mutual CHAP lets both in', run: mutualChap },
  { name: 'mutual CHAP: the initiator refuses a target with another secret', run: refusedMutual },
  { name: 'an initiator that is not on the list is refused', run: accessList, needs: 'acl' },
];

async function discovery(world: World): Promise<void> {
  const one = await world.volume({ sizeMiB: 16 });
  const two = await world.volume({ sizeMiB: 16 });
  const listed = (await world.must('discover')).split('\n');
  for (const { iqn } of [one, two]) {
    assert.ok(
      listed.some((line) => line.startsWith(`${world.portal},`) && line.endsWith(` ${iqn}`)),
      `${iqn} is not in\n${listed.join('\n')}`,
    );
  }
}

/** The lines after "On a Linux host with open-iscsi", typed as they are; the README shows the same. */
async function asPrinted(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 64 });
  await world.target.stop();
  await world.target.start();
  const hints = world.target.hints?.() ?? [];
  assert.equal(hints.length, 4);
  const [discover, login, format, logout] = hints;
  assert.ok(
    hints.every((line) => line.startsWith('sudo ')) && login!.includes(iqn),
    hints.join('\n'),
  );
  const disk = format!.split(' ').at(-1);
  const output = await world.must(`
    sudo() { "$@"; }
    ${discover}
    ${login}
    for i in $(seq 600); do [ -b ${disk} ] && break; sleep 0.1; done
    ${format} 2>&1
    blkid -o value -s TYPE $(disk_of ${iqn})
    ${logout}`);
  assert.match(output, /successful[\s\S]*^ext4$[\s\S]*Logout of .* successful/m);
}

async function plainLogin(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 16 });
  const size = await world.must(`
    discover >/dev/null
    login ${iqn}
    blockdev --getsize64 $(disk_of ${iqn})`);
  assert.equal(Number(size), 16 * 1024 * 1024);
  const { status } = await world.run(`logout ${iqn} && ! session_of ${iqn}`);
  assert.equal(status, 0, 'a session is left after the logout');
}

async function logoutAtTarget(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 16 });
  await world.must(`discover >/dev/null; login ${iqn}; disk_of ${iqn}`);
  assert.equal((await world.target.sessionInitiators())?.length, 1);
  await world.must(`logout ${iqn}`);
  assert.equal((await world.target.sessionInitiators())?.length, 0);
}

async function oneWayChap(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 16, chap: CHAP });
  const state = await world.must(`
    discover >/dev/null
    chap ${iqn} ${CHAP.user} ${CHAP.secret}
    login ${iqn}
    dd if=/dev/zero of=$(disk_of ${iqn}) bs=4096 count=4 oflag=direct status=none
    cat $(session_of ${iqn})/state`);
  assert.equal(state, 'LOGGED_IN');
}

async function refusedChap(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 16, chap: CHAP });
  await world.must('discover >/dev/null');
  const wrong = [
    `chap ${iqn} ${CHAP.user} ${CHAP.secret}x`,
    `chap ${iqn} ${CHAP.user} short-but-wrong`,
    `chap ${iqn} mallory ${CHAP.secret}`,
    `setting ${iqn} node.session.auth.authmethod None`,
  ];
  for (const settings of wrong) {
    const { status, output } = await world.run(`${settings}\nlogin ${iqn}`);
    assert.equal(
      status,
      LOGIN_AUTH_FAILED,
      `${settings}: iscsiadm ended with ${status}\n${output}`,
    );
  }
  // The refusals above were about the secret, not about the target being out of order.
  await world.must(`chap ${iqn} ${CHAP.user} ${CHAP.secret}; login ${iqn}; disk_of ${iqn}`);
}

async function mutualChap(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 16, chap: CHAP, mutualChap: TARGET_CHAP });
  await world.must(`
    discover >/dev/null
    chap ${iqn} ${CHAP.user} ${CHAP.secret} ${TARGET_CHAP.user} ${TARGET_CHAP.secret}
    login ${iqn}
    dd if=$(disk_of ${iqn}) of=/dev/null bs=4096 count=4 iflag=direct status=none`);
}

async function refusedMutual(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 16, chap: CHAP, mutualChap: TARGET_CHAP });
  const { status } = await world.run(`
    discover >/dev/null
    chap ${iqn} ${CHAP.user} ${CHAP.secret} ${TARGET_CHAP.user} not-the-targets-secret
    setting ${iqn} node.session.initial_login_retry_max 1
    login ${iqn}`);
  assert.notEqual(status, 0, 'the initiator took a target that does not know the secret');
  assert.notEqual((await world.run(`session_of ${iqn}`)).status, 0);
}

async function accessList(world: World): Promise<void> {
  const { iqn } = await world.volume({ sizeMiB: 16, initiators: [INITIATOR_B] });
  const second = `
    iscsiadm -m iface -I second -o new >/dev/null
    iscsiadm -m iface -I second -o update -n iface.initiatorname -v ${INITIATOR_B} >/dev/null`;
  await world.must(`${second}
    iscsiadm -m node -o new -T ${iqn} -p $PORTAL,1 -I default >/dev/null
    iscsiadm -m node -o new -T ${iqn} -p $PORTAL,1 -I second >/dev/null
    login ${iqn} -I second
    disk_of ${iqn} ${INITIATOR_B}`);
  const { status } = await world.run(`login ${iqn} -I default`);
  assert.notEqual(status, 0, 'an initiator that is not on the list was let in');
}
