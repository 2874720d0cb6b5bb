"""Writes to an NBD export and remembers what was acknowledged; later, checks what is there.

  ack_io.py write URI LOG SEED [SECONDS]   until told to end (SIGTERM), the time is over, or the server is gone
  ack_io.py check URI LOG                  every sector must hold its last acknowledged write, or one in flight since
  ack_io.py check-flushed URI LOG          as after a power cut: what was flushed since, or sent with FUA, or anything later

A sector of 512 bytes says which one it is and which write made it, over and over; version 0 is zeros. The log has a line
before each write and flush, and one after its answer. Ends with 0 if all is well, and with 3 if a request was answered with an error.
"""
import os, random, signal, struct, sys, threading, time
import nbd

SECTOR = 512
THREADS = 3


def sector_bytes(sector, version):
    return struct.pack("<QQ", sector, version) * 32 if version else bytes(SECTOR)


def read_sector(piece, sector):
    """The version of a sector; None if it was never written there."""
    if piece == bytes(SECTOR):
        return 0
    found, version = struct.unpack_from("<QQ", piece)
    return version if found == sector and version and piece == sector_bytes(sector, version) else None


def write(uri, log_path, seed, seconds):
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    lock = threading.Lock()
    # A plain flag: setting a threading.Event from a handler waits for ever if the signal comes inside of its wait().
    state = {"version": int(seed) * 10_000_000, "failed": None, "ends": False}

    def end(*_):
        state["ends"] = True

    signal.signal(signal.SIGTERM, end)

    def run(number):
        rng = random.Random(f"{seed}/{number}")
        handle = nbd.NBD()
        try:
            handle.connect_uri(uri)
            sectors = handle.get_size() // SECTOR
            zones = [random.Random(f"{seed}/{zone}").randrange(sectors) for zone in range(4)]
            while not state["ends"]:
                count = rng.choice([1, 1, 2, 8, 8, 9, 33, 128])
                start = rng.randrange(sectors) if rng.random() < 0.3 else rng.choice(zones) + rng.randrange(256)
                start = min(start, sectors - count)
                kind = rng.choices("wfzr-", [60, 6, 6, 20, 8])[0]
                if kind == "r":
                    data = handle.pread(count * SECTOR, start * SECTOR)
                    for i in range(count):
                        if read_sector(data[i * SECTOR:(i + 1) * SECTOR], start + i) is None:
                            raise SystemExit(f"sector {start + i} holds what was never written")
                    continue
                with lock:
                    state["version"] += 1
                    version = state["version"]
                if kind == "-":
                    os.write(log, b"f %d\n" % version)
                    handle.flush()
                    os.write(log, b"F %d\n" % version)
                    continue
                os.write(log, b"? %d %d %d %d %d\n" % (version, start, count, kind == "z", kind == "f"))
                if kind == "z":
                    handle.zero(count * SECTOR, start * SECTOR, 0)
                else:
                    data = b"".join(sector_bytes(start + i, version) for i in range(count))
                    handle.pwrite(data, start * SECTOR, nbd.CMD_FLAG_FUA if kind == "f" else 0)
                os.write(log, b"! %d\n" % version)
        except nbd.Error as error:
            # A server that is gone is what is being tried.
            if not (handle.aio_is_dead() or handle.aio_is_closed()) and handle.aio_is_ready():
                state["failed"] = str(error)
        except SystemExit as error:
            state["failed"] = str(error)
        end()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    while not state["ends"] and time.monotonic() < until:
        time.sleep(0.05)
    end()
    for thread in threads:
        thread.join()
    if state["failed"] is not None:
        print(state["failed"])
        sys.exit(3)


def replay(log_path, flushed_only):
    """What each sector may hold, by its number: pairs of version and whether it is zeros."""
    allowed = {}
    issued = {}
    acked = {}
    flushes = {}
    volatile = set()

    def settle(version):
        """The write is there to stay. What was there before it, and whatever had been acknowledged before it began, is over."""
        issued_at, start, count, _ = issued[version]
        for sector in range(start, start + count):
            values = allowed[sector]
            for other in [other for other in values if other != version]:
                if other == 0 or acked.get(other, issued_at) < issued_at:
                    del values[other]

    with open(log_path, "rb") as log:
        for at, line in enumerate(log):
            if not line.endswith(b"\n"):
                continue
            kind, *fields = line.split()
            if kind == b"=":
                start, count, value = map(int, fields)
                for sector in range(start, start + count):
                    allowed[sector] = {0: value}
            elif kind == b"?":
                version, start, count, zero, fua = map(int, fields)
                issued[version] = (at, start, count, fua)
                for sector in range(start, start + count):
                    allowed.setdefault(sector, {0: 0})[version] = 0 if zero else version
            elif kind == b"!":
                version = int(fields[0])
                acked[version] = at
                if flushed_only and not issued[version][3]:
                    volatile.add(version)
                else:
                    settle(version)
            elif kind == b"f":
                flushes[int(fields[0])] = at
            else:
                began_at = flushes[int(fields[0])]
                for version in sorted(version for version in volatile if acked[version] < began_at):
                    volatile.remove(version)
                    settle(version)
    return allowed


def check(uri, log_path, flushed_only):
    allowed = replay(log_path, flushed_only)
    handle = nbd.NBD()
    handle.connect_uri(uri)
    sectors = handle.get_size() // SECTOR
    settled = open(log_path + ".new", "w")
    run = None
    for base in range(0, sectors, 2048):
        count = min(2048, sectors - base)
        data = handle.pread(count * SECTOR, base * SECTOR)
        if data != handle.pread(count * SECTOR, base * SECTOR):
            sys.exit(f"two reads at sector {base} differ")
        for i in range(count):
            sector = base + i
            version = read_sector(data[i * SECTOR:(i + 1) * SECTOR], sector)
            values = set(allowed.get(sector, {0: 0}).values())
            if version is None:
                sys.exit(f"sector {sector} holds what was never written; allowed are {sorted(values)}")
            if version not in values:
                sys.exit(f"sector {sector} holds {version}; allowed are {sorted(values)}")
            if run is not None and run[2] == version:
                run[1] += 1
            else:
                if run is not None and run[2]:
                    settled.write("= %d %d %d\n" % tuple(run))
                run = [sector, 1, version]
    if run is not None and run[2]:
        settled.write("= %d %d %d\n" % tuple(run))
    settled.close()
    os.rename(log_path + ".new", log_path)


if sys.argv[1] == "write":
    write(sys.argv[2], sys.argv[3], sys.argv[4], float(sys.argv[5]) if len(sys.argv) > 5 else 1e9)
else:
    check(sys.argv[2], sys.argv[3], sys.argv[1] == "check-flushed")
