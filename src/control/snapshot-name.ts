// A snapshot's name: `V@NAME` as people write it and the pool has it, `V.NAME` as an object is named.

/** `V@NAME` of either. */
export function fullSnapshotName(text: string): string {
  return text.includes('@') ? text : text.replace('.', '@');
}
