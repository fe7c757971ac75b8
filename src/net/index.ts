// Sockets: listens on portals and carries bytes. The only room that imports node:net.
export { Listener, type ListenerOptions, type Portal } from './listener.ts';
export { addressAndPort } from './socket-transport.ts';
