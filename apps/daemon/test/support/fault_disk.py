"""A disk with a volatile write cache, as an NBD server; for power cuts.

  fault_disk.py SOCKET FILE SEED [--lies]

Writes stay in memory until a flush, or FUA, puts them into FILE. SIGUSR1 is the power cut: of what is in the cache, each sector
by itself is kept or lost, by the seed, and the program ends. With --lies flushes do nothing, which users must notice.
It is told on its input, line by line, what to do to the bytes from FROM to TO, and answers each line with "done":
  flip COUNT FROM TO       turns over one bit in each of so many sectors, which need not be different ones
  lose SHARE FROM TO       from now on this share of the writes that lie wholly there is acknowledged and forgotten
  misdirect SHARE FROM TO  from now on this share of them goes somewhere else there
  honest                   no write is lost or misdirected from now on
Speaks as much of the protocol as libnbd needs: github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md.
"""
import os, random, signal, socket, struct, sys, threading

SECTOR = 512
REQUEST, REPLY, OPTION, OPTION_REPLY = 0x25609513, 0x67446698, 0x49484156454F5054, 0x3E889045565A9
READ, WRITE, DISC, FLUSH, TRIM, _, ZEROES = range(7)
FUA = 1
# has flags, flush, FUA, trim, write zeroes, several connections
FLAGS = 1 | 4 | 8 | 32 | 64 | 256
EIO = 5

path, backing, seed = sys.argv[1:4]
lies = "--lies" in sys.argv
disk = os.open(backing, os.O_RDWR)
size = os.fstat(disk).st_size
cache = {}
lock = threading.Lock()
dice = random.Random(int(seed))
# What becomes of writes: share, from, to, by what happens.
whims = {}


def cut(*_):
    rng = random.Random(int(seed))
    # Often nearly all of it, or nearly nothing, is lost: the edges are where mistakes are.
    kept = rng.choice([0, 0.1, 0.5, 0.9, 1])
    for sector, data in list(cache.items()):
        if rng.random() < kept:
            os.pwrite(disk, data, sector * SECTOR)
    os._exit(0)


def write_back(sectors):
    for sector in sectors:
        data = cache.pop(sector, None)
        if data is not None:
            os.pwrite(disk, data, sector * SECTOR)


def destination(offset, length):
    """Where a write of so many bytes goes; None for nowhere."""
    for what, (share, begin, end) in whims.items():
        if offset >= begin and offset + length <= end and dice.random() < share:
            return None if what == "lose" else dice.randrange(begin, end - length + 1, SECTOR)
    return offset


def put(offset, data, flags):
    offset = destination(offset, len(data))
    if offset is None:
        return
    first = offset // SECTOR
    sectors = range(first, first + len(data) // SECTOR)
    for sector in sectors:
        at = (sector - first) * SECTOR
        cache[sector] = data[at:at + SECTOR]
    if flags & FUA and not lies:
        write_back(sectors)


def get(offset, length):
    data = bytearray(os.pread(disk, length, offset))
    first = offset // SECTOR
    for sector in range(first, first + length // SECTOR):
        if sector in cache:
            at = (sector - first) * SECTOR
            data[at:at + SECTOR] = cache[sector]
    return bytes(data)


def flip(count, begin, end):
    for _ in range(count):
        at = dice.randrange(begin, end, SECTOR)
        data = bytearray(get(at, SECTOR))
        data[dice.randrange(SECTOR)] ^= 1 << dice.randrange(8)
        if at // SECTOR in cache:
            cache[at // SECTOR] = bytes(data)
        else:
            os.pwrite(disk, data, at)


def obey():
    for line in sys.stdin:
        what, *numbers = line.split()
        with lock:
            if what == "flip":
                flip(*map(int, numbers))
            elif what == "honest":
                whims.clear()
            else:
                whims[what] = (float(numbers[0]), int(numbers[1]), int(numbers[2]))
        print("done", flush=True)


def receive(peer, count):
    data = bytearray()
    while len(data) < count:
        piece = peer.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


def negotiate(peer):
    peer.sendall(struct.pack(">8sQH", b"NBDMAGIC", OPTION, 3))
    receive(peer, 4)
    while True:
        _, option, length = struct.unpack(">QII", receive(peer, 16))
        receive(peer, length)

        def answer(kind, data=b""):
            peer.sendall(struct.pack(">QIII", OPTION_REPLY, option, kind, len(data)) + data)

        if option == 1:
            peer.sendall(struct.pack(">QH", size, FLAGS))
            return
        if option in (6, 7):
            answer(3, struct.pack(">HQH", 0, size, FLAGS))
            answer(1)
            if option == 7:
                return
        elif option == 2:
            answer(1)
            raise EOFError
        else:
            answer(0x80000001)


def serve(peer):
    try:
        negotiate(peer)
        while True:
            _, flags, kind, cookie, offset, length = struct.unpack(">IHHQQI", receive(peer, 28))
            data = receive(peer, length) if kind == WRITE else b""
            error, reply = 0, b""
            # The cut comes between two requests, or it could find half of one in the cache: sectors are torn by the dice.
            with lock:
                if kind in (READ, WRITE, ZEROES) and (offset % SECTOR or length % SECTOR or offset + length > size):
                    error = EIO
                elif kind == READ:
                    reply = get(offset, length)
                elif kind == WRITE:
                    put(offset, data, flags)
                elif kind == ZEROES:
                    put(offset, bytes(length), flags)
                elif kind == FLUSH and not lies:
                    write_back(list(cache))
                elif kind == DISC:
                    return
            peer.sendall(struct.pack(">IIQ", REPLY, error, cookie) + reply)
    except (EOFError, OSError):
        pass


signal.signal(signal.SIGUSR1, cut)
threading.Thread(target=obey, daemon=True).start()
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen(16)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
