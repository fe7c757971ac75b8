// Where the API is, and who asks: from flags, the environment, or this machine's configuration.
import type { Command } from 'commander';
import { Client, STANDARD_API } from './client.ts';
import { readInput } from './usage.ts';

interface ApiFlags {
  readonly api?: string;
  readonly tokenFile?: string;
  readonly caFile?: string;
}

export function clientOf(program: Command): Promise<Client> {
  return clientAt(program, null);
}

/** At another address, as the same account; null: where the flags, the environment or the configuration say. */
export async function clientAt(program: Command, elsewhere: string | null): Promise<Client> {
  const flags = program.opts<ApiFlags>();
  const { env } = process;
  const tokenFile = flags.tokenFile ?? env['ASHLAR_TOKEN_FILE'];
  const token = tokenFile === undefined ? env['ASHLAR_TOKEN'] : readInput(tokenFile).trim();
  const named = flags.api ?? env['ASHLAR_API'];
  const { address, caFile } =
    named === undefined ? await configuredApi() : { address: named, caFile: null };
  return new Client({
    address: elsewhere ?? address,
    token: token === undefined || token === '' ? null : token,
    caFile: flags.caFile ?? env['ASHLAR_CA_FILE'] ?? caFile,
  });
}

/** Where the configuration of this machine says that the API is. */
async function configuredApi(): Promise<{ address: string; caFile: string | null }> {
  const { loadConfig, showAddress } = await import('../daemon/config/index.ts');
  try {
    const { api } = loadConfig({}).config;
    const shown = showAddress(api.address);
    if (api.tls === null) return { address: shown, caFile: null };
    return { address: `https://${shown}`, caFile: api.tls.certFile };
  } catch {
    // Unreadable (it may be root's) or wrong: `config check` is there to say so; here the standard will do.
    return { address: STANDARD_API, caFile: null };
  }
}
