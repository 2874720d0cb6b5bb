/** A signature by which a file system, partition table or similar is recognized. */
export interface Signature {
  /** Name for people; it completes the sentence "the device carries …". */
  name: string;
  /** Byte offsets at which the magic may be, each sufficient alone. Negative ones count from the device's end. */
  at: readonly number[];
  /** The magic bytes, as latin1 text. */
  magic: string;
  /** Returns false if the magic is there by chance. Gets the bytes that were read and the magic's offset in them. */
  confirm?: (bytes: Uint8Array, at: number) => boolean;
}

const KiB = 1024;

function latin1(...bytes: number[]): string {
  return String.fromCharCode(...bytes);
}

function hasPartition(bytes: Uint8Array, at: number): boolean {
  const table = at - 64;
  for (let entry = table; entry < at; entry += 16) {
    const flag = bytes[entry] ?? 1;
    if (flag !== 0 && flag !== 0x80) return false;
  }
  return [0, 1, 2, 3].some((index) => (bytes[table + index * 16 + 4] ?? 0) !== 0);
}

/** ZFS keeps 128 KiB of uberblocks in the second half of each 256 KiB label; two labels are at the start. */
function uberblocks(): number[] {
  const offsets: number[] = [];
  for (const label of [0, 256 * KiB]) {
    for (let at = label + 128 * KiB; at < label + 256 * KiB; at += KiB) offsets.push(at);
  }
  return offsets;
}

/** The known signatures, the most specific first. Offsets and magics are from the documentation of the formats. */
export const signatures: readonly Signature[] = [
  { name: 'a LUKS volume', at: [0], magic: `LUKS${latin1(0xba, 0xbe)}` },
  { name: 'an LVM physical volume', at: [0, 512, 1024, 1536].map((sector) => sector + 24), magic: 'LVM2 001' },
  { name: 'a member of a Linux md array', at: [0, 4 * KiB], magic: latin1(0xfc, 0x4e, 0x2b, 0xa9) },
  // Versions 1.0 and 0.90 lie near the end, on a multiple of 4 and 64 KiB.
  { name: 'a member of a Linux md array', at: [-8 * KiB, -12 * KiB], magic: latin1(0xfc, 0x4e, 0x2b, 0xa9) },
  { name: 'a member of a Linux md array', at: [-64 * KiB, -128 * KiB], magic: latin1(0xfc, 0x4e, 0x2b, 0xa9) },
  { name: 'a ZFS pool’s device', at: uberblocks(), magic: latin1(0x0c, 0xb1, 0xba, 0x00, 0, 0, 0, 0) },
  { name: 'a ZFS pool’s device', at: uberblocks(), magic: latin1(0, 0, 0, 0, 0x00, 0xba, 0xb1, 0x0c) },
  { name: 'a bcache device', at: [4 * KiB + 24], magic: latin1(0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca) },
  { name: 'a Ceph OSD', at: [0], magic: 'bluestore block device' },
  { name: 'an ext2, ext3 or ext4 file system', at: [KiB + 56], magic: latin1(0x53, 0xef) },
  { name: 'an XFS file system', at: [0], magic: 'XFSB' },
  { name: 'a btrfs file system', at: [64 * KiB + 64], magic: '_BHRfS_M' },
  { name: 'an F2FS file system', at: [KiB], magic: latin1(0x10, 0x20, 0xf5, 0xf2) },
  { name: 'a JFS file system', at: [32 * KiB], magic: 'JFS1' },
  { name: 'a ReiserFS file system', at: [64 * KiB + 52], magic: 'ReIsEr' },
  { name: 'a squashfs file system', at: [0], magic: 'hsqs' },
  { name: 'an ISO 9660 file system', at: [32 * KiB + 1], magic: 'CD001' },
  { name: 'an NTFS file system', at: [3], magic: 'NTFS    ' },
  { name: 'an exFAT file system', at: [3], magic: 'EXFAT   ' },
  { name: 'a FAT file system', at: [54], magic: 'FAT1' },
  { name: 'a FAT file system', at: [82], magic: 'FAT32' },
  { name: 'swap space', at: [4, 8, 16, 64].map((page) => page * KiB - 10), magic: 'SWAPSPACE2' },
  { name: 'a GPT partition table', at: [512, 4 * KiB, -512, -4 * KiB], magic: 'EFI PART' },
  { name: 'an MBR partition table', at: [510], magic: latin1(0x55, 0xaa), confirm: hasPartition },
];
