// The fields of queries, as the OpenAPI documents list them.

export type Parameter = readonly [name: string, type: string, description: string];

export const LIST_QUERY: readonly Parameter[] = [
  ['labelSelector', 'string', 'As in app=db,tier!=test.'],
  ['fieldSelector', 'string', 'As in metadata.name=db.'],
  ['limit', 'integer', 'At most so many; continue gives the rest.'],
  ['continue', 'string', 'From the page before.'],
  ['watch', 'boolean', 'Stream changes instead.'],
  ['resourceVersion', 'string', 'Of a list: as new as this. Of a watch: changes after this.'],
  ['resourceVersionMatch', 'string', 'NotOlderThan, or Exact: just as it was then.'],
  ['sendInitialEvents', 'boolean', 'Of a watch: what there is comes first, then a bookmark.'],
  ['timeoutSeconds', 'integer', 'Of a watch: end it after so long.'],
  ['allowWatchBookmarks', 'boolean', 'Of a watch: send bookmarks.'],
];
export const WRITE_QUERY: readonly Parameter[] = [
  ['dryRun', 'string', 'All: check only.'],
  ['fieldManager', 'string', 'Who sets these fields.'],
  ['fieldValidation', 'string', 'Unknown fields: Strict (standard), Warn, Ignore.'],
];
export const PATCH_QUERY: readonly Parameter[] = [
  ...WRITE_QUERY,
  ['force', 'boolean', 'Of an apply: take fields that others own.'],
];
export const DELETE_QUERY: readonly Parameter[] = [
  ['dryRun', 'string', 'All: check only.'],
  ['gracePeriodSeconds', 'integer', '0: also while it is in use.'],
  ['propagationPolicy', 'string', 'Orphan, Background or Foreground.'],
];
export const LOG_QUERY: readonly Parameter[] = [
  ['container', 'string', 'Which container.'],
  ['follow', 'boolean', 'Go on as it grows.'],
  ['tailLines', 'integer', 'Only the last lines.'],
  ['sinceSeconds', 'integer', 'Only what is younger.'],
  ['timestamps', 'boolean', 'Each line begins with its time.'],
];
