import { constants } from 'node:os';
import { MessageFlag, SocketFamily } from './constants.js';
import type { SyscallNumbers } from './constants.js';
import type { Ffi } from './ffi.js';

/** Types and flags of socket(2). */
const streamType = 1;
const datagramType = 2;
const closeOnExec = 0o2000000;
const { ECONNRESET, EPIPE } = constants.errno;

/** Constants of netlink(7): linux/netlink.h, and the groups that libudev uses. */
const netlinkFamily = 16;
const deviceEventsProtocol = 15;
const netlinkAddressBytes = 12;
const kernelGroup = 1;
const udevGroup = 2;

/** Address of a socket: the path of a Unix socket, or an IP address and port. */
export type SocketAddress = { path: string } | { family: 'IPv4' | 'IPv6'; address: string; port: number };

/** Size of the largest address, sockaddr_un, rounded up. */
export const socketAddressBytes = 128;

/**
 * Socket calls, for code that moves the bytes itself instead of through Node. Every call returns its result or a negative
 * errno.
 */
export class Sockets {
  readonly #ffi: Ffi;
  readonly #numbers: SyscallNumbers;
  readonly #bytes = Buffer.from(new ArrayBuffer(socketAddressBytes + 16));
  readonly #addr: number;

  constructor(ffi: Ffi, numbers: SyscallNumbers) {
    this.#ffi = ffi;
    this.#numbers = numbers;
    this.#addr = ffi.addressOf(this.#bytes);
  }

  /** socket(2): a stream socket that child processes do not inherit. */
  socket(family: SocketFamily): number {
    return this.#ffi.syscall(this.#numbers.socket, family, streamType | closeOnExec, 0);
  }

  /** socketpair(2): two connected Unix sockets, or a negative errno. */
  pair(): [number, number] | number {
    const result = this.#ffi.syscall(this.#numbers.socketpair, SocketFamily.UNIX, streamType | closeOnExec, 0, this.#addr);
    return result < 0 ? result : [this.#bytes.readInt32LE(0), this.#bytes.readInt32LE(4)];
  }

  /**
   * Returns a socket (netlink(7), NETLINK_KOBJECT_UEVENT) that receives a message for every device that comes, goes or changes,
   * from the kernel and, once it has made its links, from udev; one message per receive. Returns a negative errno if that is
   * not available.
   */
  deviceEvents(): number {
    const fd = this.#ffi.syscall(this.#numbers.socket, netlinkFamily, datagramType | closeOnExec, deviceEventsProtocol);
    if (fd < 0) return fd;
    // struct sockaddr_nl: family, zero, a port that the kernel chooses, groups.
    this.#bytes.fill(0, 0, netlinkAddressBytes);
    this.#bytes.writeUInt16LE(netlinkFamily, 0);
    this.#bytes.writeUInt32LE(kernelGroup | udevGroup, 8);
    const bound = this.#ffi.syscall(this.#numbers.bind, fd, this.#addr, netlinkAddressBytes);
    if (bound >= 0) return fd;
    this.#ffi.syscall(this.#numbers.close, fd);
    return bound;
  }

  /** bind(2). */
  bind(fd: number, address: SocketAddress): number {
    return this.#ffi.syscall(this.#numbers.bind, fd, this.#addr, writeSocketAddress(this.#bytes, address));
  }

  /** connect(2); blocks until the other side's backlog has room. */
  connect(fd: number, address: SocketAddress): number {
    return this.#ffi.syscall(this.#numbers.connect, fd, this.#addr, writeSocketAddress(this.#bytes, address));
  }

  /** listen(2). */
  listen(fd: number, backlog: number): number {
    return this.#ffi.syscall(this.#numbers.listen, fd, backlog);
  }

  /** getsockname(2): the address to which the socket is bound, or a negative errno. */
  addressOf(fd: number): SocketAddress | number {
    this.#bytes.writeUInt32LE(socketAddressBytes, socketAddressBytes);
    const result = this.#ffi.syscall(this.#numbers.getsockname, fd, this.#addr, this.#addr + socketAddressBytes);
    return result < 0 ? result : readSocketAddress(this.#bytes);
  }

  /** setsockopt(2) with an integer value. */
  setOption(fd: number, { level, name }: { level: number; name: number }, value: number): number {
    this.#bytes.writeInt32LE(value, 0);
    return this.#ffi.syscall(this.#numbers.setsockopt, fd, level, name, this.#addr, 4);
  }

  /** recv(2) to an address, with `MessageFlag`s. */
  receive(fd: number, addr: number, lengthBytes: number, flags: number): number {
    return this.#ffi.syscall(this.#numbers.recvfrom, fd, addr, lengthBytes, flags);
  }

  /**
   * Whether the other end has shut down or reset the connection and everything it sent has been received. Does not wait and
   * consumes nothing.
   */
  hasEnded(fd: number): boolean {
    const result = this.receive(fd, this.#addr, 1, MessageFlag.PEEK | MessageFlag.DONT_WAIT);
    return result === 0 || result === -ECONNRESET;
  }

  /**
   * Whether the other end of a Unix socket has stopped reading: it is closed or shut down. Data that it sent before may still
   * be there. Sends nothing (send(2), EPIPE).
   */
  isPeerGone(fd: number): boolean {
    return this.#ffi.syscall(this.#numbers.sendto, fd, 0, 0, MessageFlag.NO_SIGNAL | MessageFlag.DONT_WAIT) === -EPIPE;
  }

  /**
   * Sends one datagram to a Unix socket, through a socket made for this call; returns the bytes sent, or a negative errno. Does
   * not wait for room. A path that begins with a NUL is in the abstract namespace (unix(7)).
   */
  sendDatagram(path: string, data: Uint8Array): number {
    const fd = this.#ffi.syscall(this.#numbers.socket, SocketFamily.UNIX, datagramType | closeOnExec, 0);
    if (fd < 0) return fd;
    // The address uses the memory that other calls use too, so the socket is connected first.
    const connected = this.connect(fd, { path });
    // An ArrayBuffer of its own does not move.
    const bytes = new Uint8Array(new ArrayBuffer(Math.max(data.length, 1)));
    bytes.set(data);
    const flags = MessageFlag.NO_SIGNAL | MessageFlag.DONT_WAIT;
    const sent =
      connected < 0 ? connected : this.#ffi.syscall(this.#numbers.sendto, fd, this.#ffi.addressOf(bytes), data.length, flags);
    this.#ffi.syscall(this.#numbers.close, fd);
    return sent;
  }

  /** shutdown(2), with a `ShutdownHow`. */
  shutdown(fd: number, how: number): number {
    return this.#ffi.syscall(this.#numbers.shutdown, fd, how);
  }
}

/** Writes a struct sockaddr (unix(7), ip(7), ipv6(7)); returns its length. */
function writeSocketAddress(bytes: Buffer, address: SocketAddress): number {
  bytes.fill(0);
  if ('path' in address) {
    bytes.writeUInt16LE(SocketFamily.UNIX, 0);
    const length = bytes.write(address.path, 2, 108);
    // A name in the abstract namespace begins with a NUL and ends where the length says.
    return address.path.startsWith('\0') ? 2 + length : 2 + length + 1;
  }
  bytes.writeUInt16BE(address.port, 2);
  if (address.family === 'IPv4') {
    bytes.writeUInt16LE(SocketFamily.INET, 0);
    address.address.split('.').forEach((part, index) => bytes.writeUInt8(Number(part), 4 + index));
    return 16;
  }
  bytes.writeUInt16LE(SocketFamily.INET6, 0);
  groupsOf(address.address).forEach((group, index) => bytes.writeUInt16BE(group, 8 + 2 * index));
  return 28;
}

/** Reads a struct sockaddr that the kernel wrote. */
export function readSocketAddress(address: Uint8Array): SocketAddress {
  const bytes = Buffer.from(address.buffer, address.byteOffset, address.length);
  const family = bytes.readUInt16LE(0);
  if (family === SocketFamily.UNIX) {
    const end = bytes.indexOf(0, 2);
    return { path: bytes.toString('utf8', 2, end < 0 ? bytes.length : end) };
  }
  const port = bytes.readUInt16BE(2);
  if (family === SocketFamily.INET) return { family: 'IPv4', address: bytes.subarray(4, 8).join('.'), port };
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(8 + 2 * index).toString(16));
  return { family: 'IPv6', address: new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1), port };
}

/** Returns the eight groups of a valid IPv6 address; the URL parser expands the short forms. */
function groupsOf(address: string): number[] {
  const text = new URL(`http://[${address.split('%')[0] ?? ''}]`).hostname.slice(1, -1);
  const [head = '', tail] = text.split('::');
  const parse = (part: string): number[] => (part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16)));
  const first = parse(head);
  const last = tail === undefined ? [] : parse(tail);
  return [...first, ...new Array<number>(8 - first.length - last.length).fill(0), ...last];
}
