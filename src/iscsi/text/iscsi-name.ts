// iSCSI names, RFC 7143 §4.2.7: iqn., eui. and naa. names, compared after normalisation.

/** §4.2.7.1: in UTF-8. */
export const MAX_NAME_BYTES = 223;

// Stringprep (RFC 3722) maps to lower case and forbids white space and most ASCII punctuation. Hosts in the field do
// use underscores and the like, so only what would be ambiguous in a port name, a list or a log line is refused.
const FORBIDDEN = /[\s,;"'\\<>&|`$(){}[\]]/;

/** The name in its normal form, lower case; null if it is no iSCSI name. */
export function normaliseName(value: string): string | null {
  // Normalisation may lengthen a name, and takes time: bounded on both sides.
  if (Buffer.byteLength(value) > MAX_NAME_BYTES) return null;
  const name = value.normalize('NFKC').toLowerCase();
  if (Buffer.byteLength(name) > MAX_NAME_BYTES || FORBIDDEN.test(name)) return null;
  if (/^iqn\..+$/.test(name)) return name;
  if (/^eui\.[0-9a-f]{16}$/.test(name)) return name;
  if (/^naa\.([0-9a-f]{16}|[0-9a-f]{32})$/.test(name)) return name;
  return null;
}
