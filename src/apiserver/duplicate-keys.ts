// Fields that stand twice in a JSON object. JSON.parse keeps the last of them without a word; whoever wrote the manifest
// may have meant the other one.

/** More are not worth reading. */
const MAX_FOUND = 16;

interface Level {
  readonly path: string;
  /** Null: an array. */
  readonly keys: Set<string> | null;
  key: string;
  index: number;
}

/** `text`: JSON that has been parsed. The value: paths like `spec.parts[1].name`, each once. */
export function duplicateKeys(text: string): string[] {
  const found = new Set<string>();
  const levels: Level[] = [];
  const pathHere = (): string => {
    const level = levels.at(-1);
    if (level === undefined) return '';
    if (level.keys === null) return `${level.path}[${level.index}]`;
    return level.path === '' ? level.key : `${level.path}.${level.key}`;
  };
  let isKeyNext = false;
  for (let at = 0; at < text.length && found.size < MAX_FOUND; at += 1) {
    const level = levels.at(-1);
    switch (text[at]) {
      case '{':
        levels.push({ path: pathHere(), keys: new Set(), key: '', index: 0 });
        isKeyNext = true;
        break;
      case '[':
        levels.push({ path: pathHere(), keys: null, key: '', index: 0 });
        isKeyNext = false;
        break;
      case '}':
      case ']':
        levels.pop();
        isKeyNext = false;
        break;
      case ',':
        if (level !== undefined) level.index += 1;
        isKeyNext = level?.keys !== null;
        break;
      case '"': {
        const end = endOfString(text, at);
        if (isKeyNext && level !== undefined) {
          level.key = JSON.parse(text.slice(at, end + 1)) as string;
          if (level.keys?.has(level.key) === true) found.add(pathHere());
          level.keys?.add(level.key);
          isKeyNext = false;
        }
        at = end;
        break;
      }
      default:
    }
  }
  return [...found];
}

/** The place of the quotation mark that ends the string beginning at `from`. */
function endOfString(text: string, from: number): number {
  let at = from + 1;
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at;
}
