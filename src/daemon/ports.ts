// When a port cannot be had: which one, who may hold it, and what to do.
import { type PortalAddress, showAddress } from './config/index.ts';

/** An error that is told to the operator as it stands, without a stack. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/** `flag`: how to choose another. */
export function portError(
  error: unknown,
  what: string,
  address: PortalAddress,
  flag: string,
  rivals: string,
): StartError {
  const shown = showAddress(address);
  const { code, message } = error as NodeJS.ErrnoException;
  const options = { cause: error };
  switch (code) {
    case 'EADDRINUSE':
      return new StartError(
        `${what} ${shown} is in use. ${rivals} may hold it: ss -ltnp 'sport = :${address.port}' shows who. ` +
          `Stop that, or choose another with ${flag} ${address.host}:PORT`,
        options,
      );
    case 'EADDRNOTAVAIL':
      return new StartError(
        `${what} ${shown}: this machine has no address ${address.host} (ip addr shows which it has); choose another with ${flag}`,
        options,
      );
    case 'EACCES':
      return new StartError(
        `${what} ${shown}: not allowed; ports below 1024 need CAP_NET_BIND_SERVICE, or choose another with ${flag}`,
        options,
      );
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new StartError(
        `${what} ${shown}: the name ${address.host} is not known here (getent hosts ${address.host}); use an address of this machine, with ${flag}`,
        options,
      );
    default:
      return new StartError(`${what} ${shown} cannot be opened: ${message}`, options);
  }
}
