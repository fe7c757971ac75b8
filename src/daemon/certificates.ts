// Certificates that are renewed while the daemon runs: their files are looked at now and then, and what is new in them holds
// for connections from then on. Those that are there stay. What cannot be used (half written, a key that is not the
// certificate's) is said once, and the old ones stay in use until it is mended.
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext, type Server as TlsServer } from 'node:tls';
import type { FastifyInstance } from 'fastify';
import type { Clock, Log, Timer } from '../base/index.ts';
import type { TlsIdentity } from '../net/index.ts';

/** Rotation is a matter of days; so long may a new certificate wait. */
const LOOK_MS = 5000;

export interface CertificateFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** Whose certificates peers must show; null: they show none. */
  readonly caFile: string | null;
}

interface Texts {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

export class FollowedCertificates implements TlsIdentity {
  readonly #files: CertificateFiles;
  readonly #listeners = new Set<() => void>();
  #texts: Texts;
  /** As the files were when they were read last, whatever came of it. */
  #seen: string;
  #timer: Timer | null = null;

  /** Throws where a file cannot be read. What is in them is judged by who uses it first. */
  constructor(files: CertificateFiles) {
    this.#files = files;
    this.#seen = this.#look();
    this.#texts = this.#read();
  }

  get cert(): string {
    return this.#texts.cert;
  }

  get key(): string {
    return this.#texts.key;
  }

  get ca(): string {
    return this.#texts.ca;
  }

  /** The value takes the listener away again. */
  onRenewed(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Looks at the files from now on. */
  follow(clock: Clock, log: Log): void {
    if (this.#timer !== null) return;
    const again = (): void => {
      this.#timer = clock.schedule(LOOK_MS, () => {
        this.renew(log);
        again();
      });
    };
    again();
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  /** Takes what is new. */
  renew(log: Log): void {
    const { certFile } = this.#files;
    let seen = '';
    try {
      seen = this.#look();
      if (seen === this.#seen) return;
      const texts = this.#read();
      // Judged before it is used: a key of another certificate, a file that is half written.
      createSecureContext({ cert: texts.cert, key: texts.key, ...caOf(texts) });
      this.#texts = texts;
      this.#seen = seen;
    } catch (error) {
      if (seen === this.#seen && seen === '') return;
      this.#seen = seen;
      const text = 'the new certificate cannot be used; the old one stays in use';
      log.warn({ certFile, err: error }, text);
      return;
    }
    log.info({ certFile }, 'a new certificate is used for new connections');
    for (const listener of this.#listeners) listener();
  }

  #paths(): string[] {
    const { certFile, keyFile, caFile } = this.#files;
    return caFile === null ? [certFile, keyFile] : [certFile, keyFile, caFile];
  }

  /** A replaced file is another inode, one written in place has another time. */
  #look(): string {
    return this.#paths()
      .map((path) => {
        const { ino, size, mtimeMs } = statSync(path);
        return `${ino}/${size}/${mtimeMs}`;
      })
      .join();
  }

  #read(): Texts {
    const { certFile, keyFile, caFile } = this.#files;
    const text = (path: string): string => readFileSync(path, 'utf8');
    return {
      cert: text(certFile),
      key: text(keyFile),
      ca: caFile === null ? '' : text(caFile),
    };
  }
}

/** The API's certificate is renewed while it is served. The value ends that. */
export function followTls(
  tls: FollowedCertificates | null,
  app: FastifyInstance,
  clock: Clock,
  log: Log,
): () => void {
  if (tls === null) return () => {};
  const server = app.server as unknown as TlsServer;
  tls.onRenewed(() => {
    server.setSecureContext({ cert: tls.cert, key: tls.key, minVersion: 'TLSv1.2' });
  });
  tls.follow(clock, log);
  return () => tls.close();
}

function caOf({ ca }: Texts): { ca?: string } {
  return ca === '' ? {} : { ca };
}
