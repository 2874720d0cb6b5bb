import { statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { groupId } from './socket-access.js';
import type { SocketMode } from './socket-access.js';
import { isUuid } from '@raidkit/bdev';
import type { TlsFiles } from '@raidkit/nbd';
import { addHttpOptions, httpOptions } from './dashboard/http-options.js';
import type { HttpOptions, ParsedHttpOptions } from './dashboard/http-options.js';
import { addEventOptions, eventOptions } from './events/event-options.js';
import type { ParsedEventOptions } from './events/event-options.js';
import type { SinkOptions } from './events/sinks/sinks.js';
import type { AllowOptions, NbdLimits } from './daemon.js';
import type { NbdAddress } from './exports.js';
import { parseAddress, parsePort } from './listen-address.js';
import { defaultLevelPackages } from './level-modules.js';
import type { RpcAddress } from './rpc/listen.js';
import type { ScheduleOptions } from './schedule/check-schedule.js';
import { addScheduleOptions, scheduleOptions } from './schedule/schedule-options.js';
import type { ParsedScheduleOptions } from './schedule/schedule-options.js';
import type { ScanOptions } from './scan/scanner.js';

/** How I/O reaches the kernel: `auto` is io_uring where there is one. */
export type EngineChoice = 'auto' | 'uring' | 'portable';

/** Whether NBD clients can use TLS, or must use it. */
type TlsMode = 'off' | 'allow' | 'require';

/** Options parsed from the command line. */
export interface CliOptions extends HttpOptions {
  rpc: RpcAddress[];
  /** Paths of read-only control sockets. */
  readOnlyRpc: string[];
  socketGroup: number | undefined;
  socketMode: SocketMode | undefined;
  nbd: NbdAddress[];
  configPath: string | undefined;
  /** Path of the state file, which keeps what calls have set up; undefined for none. */
  statePath: string | undefined;
  /** Where to look for members, and which arrays to start; undefined for no scan. */
  scan: ScanOptions | undefined;
  /** Which devices may be opened and which arrays may run. */
  allow: AllowOptions;
  isStrict: boolean;
  waitForRpc: boolean;
  autoExport: boolean;
  levels: string[];
  /** Folder in which level packages that the daemon does not include are installed; undefined for none. */
  levelFolder: string | undefined;
  memoryBytes: number;
  /** Memory for pages of checksums, in bytes per reactor. */
  checksumCacheBytes: number;
  engine: EngineChoice;
  /** How many io_uring threads share the volumes. */
  reactors: number;
  spinMicroseconds: number;
  stuckAfterSeconds: number;
  giveUpAfterSeconds: number;
  nbdLimits: NbdLimits;
  /** TLS settings for NBD clients; undefined for no TLS. */
  tls: { isRequired: boolean; files: TlsFiles } | undefined;
  sinks: SinkOptions;
  /** Schedule of checks; undefined: on request only. */
  schedule: ScheduleOptions | undefined;
  /** Milliseconds between reminders that an array is still degraded; 0 for no reminders. */
  remindMs: number;
  /** Milliseconds between two checks of the disks' health; 0 for never. */
  diskHealthMs: number;
  logLevel: string;
  /** Folder of the demonstration; undefined if it was not requested. */
  demo: string | undefined;
}

interface ParsedOptions extends ParsedEventOptions, ParsedScheduleOptions, ParsedHttpOptions {
  rpcSocket: RpcAddress[];
  rpcReadonly: string[];
  socketGroup?: number;
  socketMode?: SocketMode;
  config?: string;
  state?: string;
  scan?: string[];
  autoStart?: 'all' | 'none';
  startArray: string[];
  allowDevice: string[];
  allowArray: string[];
  strict: boolean;
  waitForRpc: boolean;
  nbd: NbdAddress[];
  autoExport: boolean;
  level: string[];
  levelFolder?: string;
  memory: number;
  checksumCache: number;
  engine: EngineChoice;
  reactors: number;
  spin: number;
  stuckAfter: number;
  stuckExit: number;
  clients?: number;
  clientRequests?: number;
  clientMemory?: number;
  clientsPerAddress?: number;
  clientIdle?: number;
  nbdMemory?: number;
  tls: TlsMode;
  tlsCertificates?: string;
  tlsVerifyPeer: boolean;
  tlsPsk?: string;
  diskHealth: number;
  logLevel: string;
  demo?: string;
}

/** The command line's options, from which `--help` and the manual page are made. */
export function makeCommand(version: string): Command {
  const command = new Command('raidkitd')
    .description('RAID volumes over block devices and files, served over NBD, controlled over JSON-RPC')
    .version(version)
    .option(
      '-r, --rpc-socket <address>',
      'control socket: a path, or HOST:PORT for TCP (no authentication, so loopback alone); repeatable',
      collect(parseRpc),
      [],
    )
    .option(
      '--rpc-readonly <path>',
      'control socket for read-only calls; chgrp and chmod it for others; repeatable',
      collect(String),
      [],
    )
    .option(
      '--socket-group <group>',
      'group (name or number) that may use the Unix sockets for control, NBD and HTTP; without it only you may',
      parseGroup,
    )
    .option(
      '--socket-mode <mode>',
      'mode of the Unix sockets: 600 for you alone, 660 for the group too, 666 for every user of this machine (660 with --socket-group, else 600)',
      parseMode,
    )
    .option('-c, --config <file>', 'replay the calls of this JSON file (SPDK’s form) at start')
    .addOption(new Option('--json <file>', 'the same as --config').hideHelp())
    .option(
      '--state <file>',
      'save the configuration made by calls in this file, and restore it at start; none: do not save it',
    )
    .option('--scan <glob...>', 'open members of arrays among these devices and files, including those that appear later')
    .addOption(
      new Option(
        '--auto-start <policy>',
        'which arrays that are found start automatically; all unless some are listed',
      ).choices(['all', 'none']),
    )
    .option(
      '--start-array <name>',
      'of the arrays that are found, start this one (name or uuid) automatically; repeatable',
      collect(String),
      [],
    )
    .option('--allow-device <glob>', 'open only devices and files that match; repeatable', collect(String), [])
    .option('--allow-array <uuid>', 'run only arrays with these uuids; repeatable', collect(parseUuid), [])
    .option(
      '--strict',
      'exit at start if a call of the configuration fails, instead of keeping the call and trying it again',
      false,
    )
    .option('--wait-for-rpc', 'wait for framework_start_init before creating devices', false)
    .option('--nbd <address>', 'serve NBD at unix:PATH or tcp:HOST:PORT; repeatable', collect(parseAddress), [])
    .option('--no-auto-export', 'do not export volumes automatically when they come online')
    .option('--level <package>', 'load a RAID level from this package too; repeatable', collect(String), [])
    .option(
      '--level-folder <folder>',
      'directory whose node_modules has the packages of --level; only you and root may own and change it',
    )
    .option('--memory <MiB>', 'size of the buffer memory of each reactor', parseMemory, 512)
    .option(
      '--checksum-cache <MiB>',
      'how much of --memory checksums of arrays with integrity may use, 1 MiB for 480 MiB of data; at most a quarter of it',
      parseCount(1, 1000),
      64,
    )
    .addOption(
      new Option(
        '--engine <engine>',
        'io_uring in a thread of its own, or the thread pool of Node.js; auto: io_uring if it is available',
      )
        .choices(['auto', 'uring', 'portable'])
        .default('auto')
        .env('RAIDKIT_ENGINE'),
    )
    .addOption(
      new Option('--reactors <number>', 'io_uring threads that share the volumes, each with a buffer memory of its own')
        .default(1)
        .argParser(parseCount(1, 64))
        .env('RAIDKIT_REACTORS'),
    )
    .option(
      '--spin <µs>',
      'how long the io_uring thread polls for more work before it sleeps; 0 to sleep at once',
      parseSpin,
      100,
    )
    .option('--clients <number>', 'maximum number of NBD connections (256)', parseCount(1, 65_536))
    .option(
      '--client-requests <number>',
      'maximum number of requests in flight of one NBD connection (256)',
      parseCount(1, 65_536),
    )
    .option(
      '--client-memory <MiB>',
      'maximum size of the buffers of one NBD connection (64, and at most a quarter of --nbd-memory)',
      parseCount(1, 4000),
    )
    .option(
      '--nbd-memory <MiB>',
      'maximum size of the buffers of all NBD connections (512, and at most half of the buffers of --memory)',
      parseCount(1, 4000),
    )
    .option(
      '--clients-per-address <number>',
      'maximum number of NBD connections from one network address (half of --clients)',
      parseCount(1, 65_536),
    )
    .option(
      '--client-idle <seconds>',
      'close an NBD connection that has been idle for so long; 0 for never (0)',
      parseCount(0, 86_400 * 7),
    )
    .addOption(
      new Option('--tls <mode>', 'whether NBD clients may or must use TLS, on every --nbd')
        .choices(['off', 'allow', 'require'])
        .default('off'),
    )
    .option(
      '--tls-certificates <folder>',
      'directory of server-cert.pem and server-key.pem, and of ca-cert.pem to verify clients',
    )
    .option('--tls-verify-peer', 'require NBD clients to have a certificate signed by ca-cert.pem', false)
    .option(
      '--tls-psk <file>',
      'file with lines of USER:KEY, the key in hexadecimal digits, for NBD clients that use a pre-shared key',
    )
    .option(
      '--stuck-after <seconds>',
      'report an io_uring thread that has made no progress for so long, and refuse control calls',
      parseCount(2, 3600),
      10,
    )
    .option(
      '--stuck-exit <seconds>',
      'kill the daemon (SIGKILL) after so long, so that its supervisor restarts it; 0 for never',
      parseCount(0, 86_400),
      60,
    )
    .option(
      '--disk-health <minutes>',
      'how often smartctl, if it is installed, is asked for the health of disks; 0 for never',
      parseCount(0, 10_080),
      30,
    )
    .addOption(
      new Option('--log-level <level>', 'lowest level to log')
        .choices(['silent', 'error', 'warn', 'info', 'debug'])
        .default('info'),
    )
    .addOption(
      new Option('--demo [folder]', 'create, or restore, a raid5f volume over four files in this directory').preset('demo'),
    )
    .addHelpText(
      'after',
      '\nWithout -r the control socket is raidkitd.sock in $XDG_RUNTIME_DIR, or in /run for root.\nWithout --state the configuration is saved in state.json in $STATE_DIRECTORY; without that and -r in /var/lib/raidkit for root, or raidkit in $XDG_STATE_HOME; otherwise it is not saved.',
    );
  addHttpOptions(command);
  addEventOptions(command);
  addScheduleOptions(command);
  return command;
}

/** Parses the command line (`process.argv`). Prints help or an error and ends the process, as commander does. */
export function parseCommandLine(argv: readonly string[], version: string): CliOptions {
  const command = makeCommand(version);
  command.parse([...argv]);
  const options = command.opts<ParsedOptions & { json?: string }>();
  return {
    rpc: options.rpcSocket.length > 0 ? options.rpcSocket : [{ path: defaultRpcPath() }],
    readOnlyRpc: options.rpcReadonly,
    socketGroup: options.socketGroup,
    socketMode: socketMode(command, options),
    nbd: options.nbd,
    configPath: options.config ?? options.json,
    statePath: statePath(options),
    scan: scanOptions(command, options),
    allow: {
      devices: options.allowDevice.length === 0 ? null : options.allowDevice,
      arrays: options.allowArray.length === 0 ? null : options.allowArray,
    },
    isStrict: options.strict,
    waitForRpc: options.waitForRpc,
    autoExport: options.autoExport,
    levels: [...defaultLevelPackages, ...options.level],
    levelFolder: options.levelFolder,
    memoryBytes: options.memory * 1024 * 1024,
    checksumCacheBytes: options.checksumCache * 1024 * 1024,
    engine: options.engine,
    reactors: options.reactors,
    spinMicroseconds: options.spin,
    stuckAfterSeconds: options.stuckAfter,
    giveUpAfterSeconds: options.stuckExit,
    nbdLimits: nbdLimits(options),
    tls: tlsOptions(command, options),
    ...httpOptions(command, options),
    schedule: scheduleOptions(command, options),
    ...eventOptions(command, options),
    diskHealthMs: options.diskHealth * 60_000,
    logLevel: options.logLevel,
    demo: options.demo,
  };
}

/**
 * The default control socket: `$XDG_RUNTIME_DIR/raidkitd.sock`, `/run/raidkitd.sock` for root, else a path in `/tmp` with the
 * user's number.
 */
export function defaultRpcPath(): string {
  const { XDG_RUNTIME_DIR: runtimeDir } = process.env;
  const uid = process.geteuid?.() ?? 0;
  // `sudo -E` passes another user's directory on.
  const isOwn = runtimeDir !== undefined && statSync(runtimeDir, { throwIfNoEntry: false })?.uid === uid;
  if (isOwn) return join(runtimeDir, 'raidkitd.sock');
  return uid === 0 ? '/run/raidkitd.sock' : `/tmp/raidkitd-${uid}.sock`;
}

function scanOptions(command: Command, { scan, autoStart, startArray }: ParsedOptions): ScanOptions | undefined {
  if (scan === undefined) {
    if (autoStart !== undefined || startArray.length > 0) command.error('error: --auto-start and --start-array need --scan');
    return undefined;
  }
  if (startArray.length === 0) return { patterns: scan, policy: autoStart ?? 'all' };
  if (autoStart !== undefined) command.error('error: --auto-start is for all arrays, --start-array for some: give one of them');
  return { patterns: scan, policy: startArray };
}

/** Path of the state file. A daemon with a control socket of its own does not share a state file with others unless told to. */
function statePath({ state, rpcSocket, demo }: ParsedOptions): string | undefined {
  if (state === 'none') return undefined;
  if (state !== undefined) return resolve(state);
  if (demo !== undefined) return undefined;
  const { STATE_DIRECTORY: systemdFolder, XDG_STATE_HOME: stateHome } = process.env;
  // systemd may set several folders.
  if (systemdFolder !== undefined && systemdFolder !== '') return join(systemdFolder.split(':')[0] ?? '', 'state.json');
  if (rpcSocket.length > 0) return undefined;
  if (process.getuid?.() === 0) return '/var/lib/raidkit/state.json';
  return join(stateHome ?? join(homedir(), '.local', 'state'), 'raidkit', 'state.json');
}

function socketMode(command: Command, { socketGroup, socketMode: mode }: ParsedOptions): SocketMode | undefined {
  if (mode === 0o600 && socketGroup !== undefined)
    command.error('error: --socket-mode 600 keeps the group of --socket-group out');
  return mode;
}

function nbdLimits(options: ParsedOptions): NbdLimits {
  const { clients, clientsPerAddress, clientIdle, clientRequests, clientMemory, nbdMemory } = options;
  return {
    ...(clients === undefined ? {} : { maxConnections: clients }),
    ...(clientsPerAddress === undefined ? {} : { maxConnectionsPerPeer: clientsPerAddress }),
    ...(clientIdle === undefined ? {} : { idleTimeoutMs: clientIdle * 1000 }),
    ...(clientRequests === undefined ? {} : { maxRequestsPerConnection: clientRequests }),
    ...(clientMemory === undefined ? {} : { maxBytesPerConnection: clientMemory * 1024 * 1024 }),
    ...(nbdMemory === undefined ? {} : { maxBytes: nbdMemory * 1024 * 1024 }),
  };
}

function tlsOptions(command: Command, { demo, tls, tlsCertificates, tlsVerifyPeer, tlsPsk }: ParsedOptions): CliOptions['tls'] {
  const hasFiles = tlsCertificates !== undefined || tlsPsk !== undefined;
  if (tls === 'off') {
    if (hasFiles || tlsVerifyPeer)
      command.error('error: --tls-certificates, --tls-verify-peer and --tls-psk need --tls allow or --tls require');
    return undefined;
  }
  if (demo !== undefined) command.error('error: --demo does not support TLS');
  if (!hasFiles) command.error(`error: --tls ${tls} needs --tls-certificates or --tls-psk`);
  if (tlsVerifyPeer && tlsCertificates === undefined) command.error('error: --tls-verify-peer needs --tls-certificates');
  const files = {
    verifyPeer: tlsVerifyPeer,
    ...(tlsCertificates === undefined ? {} : { certificates: tlsCertificates }),
    ...(tlsPsk === undefined ? {} : { keys: tlsPsk }),
  };
  return { isRequired: tls === 'require', files };
}

function collect<T>(parse: (text: string) => T): (text: string, before: T[]) => T[] {
  return (text, before) => [...before, parse(text)];
}

function parseRpc(text: string): RpcAddress {
  const tcp = /^(\[[0-9a-fA-F:]+\]|[^/:]+):(\d+)$/.exec(text);
  if (tcp === null) return { path: text };
  return { host: (tcp[1] ?? '').replace(/^\[|\]$/g, ''), port: parsePort(tcp[2] ?? '') };
}

function parseUuid(text: string): string {
  if (!isUuid(text)) throw new InvalidArgumentError('must be a uuid, as raidctl examine shows it.');
  return text.toLowerCase();
}

function parseGroup(text: string): number {
  try {
    return groupId(text);
  } catch (error) {
    throw new InvalidArgumentError(`${error instanceof Error ? error.message : String(error)}.`);
  }
}

function parseMode(text: string): SocketMode {
  const mode = /^0?6[06]{2}$/.test(text) ? parseInt(text, 8) : 0;
  if (mode !== 0o600 && mode !== 0o660 && mode !== 0o666) throw new InvalidArgumentError('must be 600, 660 or 666.');
  return mode;
}

function parseSpin(text: string): number {
  const microseconds = Number(text);
  if (!Number.isInteger(microseconds) || microseconds < 0 || microseconds > 10_000) {
    throw new InvalidArgumentError('must be a whole number of microseconds from 0 to 10000.');
  }
  return microseconds;
}

function parseCount(least: number, most: number): (text: string) => number {
  return (text) => {
    const count = Number(text);
    if (!Number.isInteger(count) || count < least || count > most)
      throw new InvalidArgumentError(`must be a whole number from ${least} to ${most}.`);
    return count;
  };
}

function parseMemory(text: string): number {
  const mebibytes = Number(text);
  if (!Number.isInteger(mebibytes) || mebibytes < 64 || mebibytes > 4000) {
    throw new InvalidArgumentError('must be a whole number of MiB from 64 to 4000.');
  }
  return mebibytes;
}
