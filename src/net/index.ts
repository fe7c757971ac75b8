// Sockets: listens on portals and carries bytes. The only room that imports node:net.
export { type DialOptions, dial, type TlsIdentity } from './dial.ts';
export { Listener, type ListenerOptions, type Portal } from './listener.ts';
export { addressAndPort } from './socket-transport.ts';
