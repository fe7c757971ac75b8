// What to do about a replica that is not reached. How the last try ended tells it: somebody who refuses is there, and
// whoever is told to look whether its node is up looks at the wrong thing.

/**
 * A line for people, with what is wrong and what to do.
 * @param link how the last try ended, in the words of src/wire, src/net or the system; empty while one is under way.
 */
export function linkAdvice(replicaId: string, link: string): string {
  const why = link === '' ? 'it is being tried' : link;
  // src/wire/handshake.ts: of a secret that differs, and of one that a side alone has.
  if (/secret/.test(link)) {
    return (
      `Replica ${replicaId} is there and not let in (${why}): replication.secretFile of its daemon and of this one must hold ` +
      'the same; correct the wrong file and restart its daemon. It catches up by itself then.'
    );
  }
  // Node's words for what OpenSSL finds, of either side.
  if (/certificate|self.signed|\bSSL\b|\bTLS\b|\balert\b|EPROTO/i.test(link)) {
    return (
      `Replica ${replicaId} is there, and one of the two sides does not believe the other's certificate (${why}): see ` +
      'docs/operations.md, "Certificates". Files that are replaced are taken within 5 s, and it catches up by itself.'
    );
  }
  if (/protocol version|feature/.test(link)) {
    return (
      `Replica ${replicaId} is there and speaks another version (${why}): bring both daemons to the newest. ` +
      'It catches up by itself then.'
    );
  }
  return (
    `Replica ${replicaId} cannot be reached (${why}): is its node up, does "ashlar replica" run there? ` +
    'It catches up by itself when it is back.'
  );
}
